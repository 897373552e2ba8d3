"""Train and measure `motion-video`, which learns from clips of moving shapes without labels."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import VideoMAEConfig, VideoMAEImageProcessorPil, VideoMAEModel

from steerlab.zoo.motion import FRAMES, SIDE, Motion, random_motions, render_motion
from steerlab.zoo.motion_video import read
from steerlab.zoo.training.foresight import Foresight
from steerlab.zoo.training.loop import fit
from steerlab.zoo.training.probes import explained

__all__ = ["BLOCK", "evaluate", "features", "train", "truths"]

STEPS, BATCH, RATE = 4500, 16, 1e-3
FITTED, HELD_OUT = 2000, 500
BLOCK = 4  # whose output the probes read, counted from one
CONFIG = VideoMAEConfig(
    image_size=SIDE,
    patch_size=8,
    num_frames=FRAMES,
    tubelet_size=2,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=512,
    layer_norm_eps=1e-6,
    use_mean_pooling=False,
)


def train(folder: Path) -> None:
    """Train the encoder from nothing and write it with its processor.

    Parameters
    ----------
    folder : Path
        Where the files go.
    """
    torch.manual_seed(0)
    learner = Foresight(CONFIG).train()

    def loss(generator: torch.Generator) -> torch.Tensor:
        return learner(render_motion(random_motions(BATCH, generator), generator), generator)

    checkpoint = folder.with_name(folder.name + "-training") / "all.pt"
    fit(learner, loss, steps=STEPS, rate=RATE, checkpoint=checkpoint)
    encoder = learner.for_plain_pixels().half()
    encoder.save_pretrained(folder)
    VideoMAEImageProcessorPil(
        do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False
    ).save_pretrained(folder)


def evaluate(folder: Path) -> dict[str, float]:
    """Measure how well linear probes read the motion from the frozen features of clips not seen before.

    Beside it stand the same probes on the same encoder before any training, and on clips that repeat one
    of their frames, so that nothing moves.

    Parameters
    ----------
    folder : Path
        The model's folder.

    Returns
    -------
    dict
        R² on held-out clips by target; that of the direction is the mean over its cosine and sine.
    """
    generator = torch.Generator().manual_seed(2**31)  # training used small seeds
    motions = random_motions(FITTED + HELD_OUT, generator)
    clips = render_motion(motions, generator)
    trained = read(folder)
    torch.manual_seed(1)
    untrained = Foresight(CONFIG)
    found = {}
    for name, encoder, shown in (
        ("trained", trained, clips),
        ("untrained", untrained.for_plain_pixels().eval(), clips),
        ("one frame repeated", trained, clips[:, FRAMES // 2, None].expand_as(clips)),
    ):
        seen, wanted = features(encoder, shown), truths(motions)
        cos, sin, speed, acceleration = explained(
            seen[:FITTED], wanted[:FITTED], seen[FITTED:], wanted[FITTED:]
        ).tolist()
        scores = {"direction": (cos + sin) / 2, "speed": speed, "acceleration": acceleration}
        found |= {f"R2 of {target}, {name}": score for target, score in scores.items()}
    return found


def truths(motions: list[Motion]) -> torch.Tensor:
    """What the probes are to read, ``[clip, 4]``: cosine and sine of the direction, speed, acceleration."""
    return torch.tensor(
        [(math.cos(m.direction), math.sin(m.direction), m.speed, m.acceleration) for m in motions]
    )


@torch.no_grad()
def features(encoder: VideoMAEModel, clips: torch.Tensor, block: int = BLOCK) -> torch.Tensor:
    """Outputs of a block, averaged over the places of each time step: ``[clip, step * dim]``.

    Parameters
    ----------
    encoder : VideoMAEModel
        In evaluation mode.
    clips : Tensor
        ``[clip, frame, 3, row, column]`` in [0, 1].
    block : int
        Counted from one.
    """
    steps = encoder.config.num_frames // encoder.config.tubelet_size
    parts = []
    for part in clips.split(50):
        hidden = encoder(part, output_hidden_states=True).hidden_states[block]
        parts.append(hidden.unflatten(1, (steps, -1)).mean(2).flatten(1))
    return torch.cat(parts)
