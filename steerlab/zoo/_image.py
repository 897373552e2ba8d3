"""Photographs to the normalised pixel tensors that an ImageNet-style vision model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from steerlab.errors import SteerlabError


@dataclass(frozen=True)
class ImageProcessor:
    """Resize, cut or pad to a square, and normalise; called like an image processor of transformers.

    It needs Pillow alone, where the image processors of transformers may want torchvision.

    Attributes
    ----------
    size
        Side of the square, in pixels.
    fit
        "crop": the shorter side becomes `size` and the centre is cut out, so that every token sees picture;
        "pad": the longer side becomes `size` and the rest is black, so that the whole picture is seen.
    mean, std
        Per colour, on the scale of 0 to 1.
    """

    size: int = 224
    fit: Literal["crop", "pad"] = "crop"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __call__(self, images: Any, return_tensors: Literal["pt", "np"] = "pt") -> BatchFeature:
        """Prepare pictures.

        Parameters
        ----------
        images
            A picture or a sequence of them: PIL, or uint8 arrays [height, width] or
            [height, width, 1, 3 or 4].
        return_tensors
            "pt" for tensors, "np" for arrays.

        Returns
        -------
        BatchFeature
            ``{"pixel_values": [batch, 3, size, size] float32}``.
        """
        if isinstance(images, (Image.Image, np.ndarray, torch.Tensor)):
            several = not isinstance(images, Image.Image) and images.ndim == 4
            images = list(images) if several else [images]
        pixels = np.stack([np.asarray(self._square(_to_pil(image)), np.float32) for image in images]) / 255
        pixels = (pixels - np.float32(self.mean)) / np.float32(self.std)
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        return BatchFeature({"pixel_values": torch.from_numpy(pixels) if return_tensors == "pt" else pixels})

    def denormalise(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation: [batch, 3, height, width] to the same shape, in 0 to 1, for showing."""
        mean, std = (pixel_values.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (pixel_values * std + mean).clamp(0, 1)

    def _square(self, image: Image.Image) -> Image.Image:
        choose = min if self.fit == "crop" else max
        scale = self.size / choose(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        # Cropping beyond the border fills with black, so one call serves both ways of fitting.
        return image.crop((left, top, left + self.size, top + self.size))


def _to_pil(image: Image.Image | np.ndarray | torch.Tensor | Sequence[Any]) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] not in (1, 3, 4))
    ):
        raise SteerlabError(
            "a picture must be PIL or a uint8 array [height, width] or [height, width, 1, 3 or 4], "
            f"got {array.dtype} {list(array.shape)}"
        )
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array).convert(
        "RGB"
    )
