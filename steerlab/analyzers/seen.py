"""The pictures and clips that a model was given, cropped and resized as it saw them, ready to be drawn."""

from __future__ import annotations

from typing import Any

import torch

from steerlab.atoms.stream import prepared
from steerlab.errors import SteerlabError
from steerlab.model import Model


def pixels_of(model: Model, data: Any) -> torch.Tensor:
    """What the model sees of its inputs, ``[input, (frame,) colour, row, column]``."""
    for value in prepared(model, data).values():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim in (4, 5):
            return value.detach().float().cpu()
    raise SteerlabError("these inputs hold no pictures; this analyzer is for models of images and videos")


def drawable(pixels: torch.Tensor) -> torch.Tensor:
    """The same as bytes ``[input, (frame,) row, column, colour]``, each input stretched to 0 to 255."""
    flat = pixels.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    shape = (-1, *(1,) * (pixels.ndim - 1))
    unit = (pixels - low.view(shape)) / (high - low).clamp_min(1e-12).view(shape)
    return (255 * unit).round().byte().movedim(-3, -1)
