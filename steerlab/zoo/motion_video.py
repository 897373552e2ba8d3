"""`motion-video`, a small video encoder that learnt from clips of moving shapes, without labels."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import VideoMAEImageProcessorPil, VideoMAEModel

from steerlab.zoo import ZooModel
from steerlab.zoo._cache import check_loaded

__all__ = ["WEIGHTS", "load", "read"]

WEIGHTS = Path(__file__).parent / "weights" / "motion-video"


def load() -> ZooModel:
    """Load the encoder.

    Returns
    -------
    ZooModel
        `model` is a ``VideoMAEModel`` over clips [batch, 16, 3, 32, 32] in [0, 1], whose blocks are
        ``model.encoder.layer.0`` onwards, with 8 x 4 x 4 tokens; `processor` stacks a list of such clips.
    """
    processor = VideoMAEImageProcessorPil.from_pretrained(WEIGHTS)
    return ZooModel(model=read(WEIGHTS), processor=processor, card=(WEIGHTS / "README.md").read_text())


def read(folder: Path) -> VideoMAEModel:
    """Read the encoder from a folder that its training wrote, in float32 and in evaluation mode."""
    model, info = VideoMAEModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    check_loaded(info)
    return model.eval()
