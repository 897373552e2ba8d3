"""`shapes-clip`: a CLIP in miniature that was trained on pictures of shapes and their captions."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from steerlab.zoo import ZooModel
from steerlab.zoo._cache import check_loaded

__all__ = ["WEIGHTS", "load"]

WEIGHTS = Path(__file__).parent / "weights" / "shapes-clip"


def load() -> ZooModel:
    """Load shapes-clip.

    Returns
    -------
    ZooModel
        `model` is a ``CLIPModel`` for pictures of 64 by 64; `processor` is its ``CLIPProcessor``.
    """
    model, info = CLIPModel.from_pretrained(WEIGHTS, dtype=torch.float32, output_loading_info=True)
    check_loaded(info)
    # The image processor that needs Pillow alone; CLIPProcessor itself would ask for torchvision.
    images = CLIPImageProcessorPil.from_pretrained(WEIGHTS)
    processor = CLIPProcessor(images, CLIPTokenizer.from_pretrained(WEIGHTS))
    return ZooModel(model.eval(), processor, (WEIGHTS / "README.md").read_text(encoding="utf-8"))
