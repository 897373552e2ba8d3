"""`shapes-vit`: a DINOv2 with registers in miniature that was trained on pictures of shapes."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BitImageProcessorPil, Dinov2WithRegistersModel

from steerlab.zoo import ZooModel
from steerlab.zoo._cache import check_loaded

__all__ = ["WEIGHTS", "load"]

WEIGHTS = Path(__file__).parent / "weights" / "shapes-vit"


def load() -> ZooModel:
    """Load shapes-vit.

    Returns
    -------
    ZooModel
        `model` is a ``Dinov2WithRegistersModel`` with a class token, 4 registers and 64 patches;
        `processor` makes ``[picture, 3, 64, 64]``.
    """
    model, info = Dinov2WithRegistersModel.from_pretrained(
        WEIGHTS, dtype=torch.float32, output_loading_info=True
    )
    check_loaded(info)
    processor = BitImageProcessorPil.from_pretrained(WEIGHTS)
    return ZooModel(model.eval(), processor, (WEIGHTS / "README.md").read_text(encoding="utf-8"))
