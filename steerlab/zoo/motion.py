"""Clips of one moving shape on a still texture: what the embedded video model was trained on.

Everything about a clip is known: direction, speed and acceleration of the motion, shape, colour and place.
Space is a torus: a shape that leaves on one side enters on the other. With a start that is drawn evenly the
place at every single frame is even too, and says nothing of the motion; only several frames together do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.zoo.scenes import COLOURS, SHAPES, backgrounds, coverage

FRAMES = 16
SIDE = 32
SPEEDS = (0.8, 2.4)  # pixels a frame
ACCELERATIONS = (-0.1, 0.1)  # pixels a frame^2; too weak for any shape to turn round within 16 frames
RADII = (4.0, 6.0)  # pixels
_STAMP = 16  # side of the square a shape is drawn on, two pixels wider than the largest shape


@dataclass(frozen=True)
class Motion:
    """How one shape moves.

    Attributes
    ----------
    direction
        In radians: 0 is to the right, a quarter turn is down, as rows are counted.
    speed
        Mean over the clip, which is the speed at its middle, in pixels a frame.
    acceleration
        Along the direction, in pixels a frame^2.
    start
        Centre at the first frame, in fractions of the side: across, down.
    shape, colour
        Names out of `steerlab.zoo.scenes`.
    """

    direction: float
    speed: float
    acceleration: float = 0.0
    start: tuple[float, float] = (0.5, 0.5)
    shape: str = "circle"
    colour: str = "red"


def random_motions(count: int, generator: torch.Generator) -> list[Motion]:
    """Motions with every attribute drawn evenly and by itself."""

    def uniform(low: float, high: float) -> list[float]:
        return (low + (high - low) * torch.rand(count, generator=generator)).tolist()

    def draw(options: Sequence[str]) -> list[str]:
        return [options[i] for i in torch.randint(len(options), (count,), generator=generator).tolist()]

    numbers = uniform(0, 2 * math.pi), uniform(*SPEEDS), uniform(*ACCELERATIONS)
    starts = zip(uniform(0, 1), uniform(0, 1), strict=True)
    kinds = draw(SHAPES), draw(tuple(COLOURS))
    return [Motion(*values) for values in zip(*numbers, starts, *kinds, strict=True)]


def paths(motions: Sequence[Motion], frames: int = FRAMES, side: int = SIDE) -> torch.Tensor:
    r"""Centres of the shapes before they are taken round the torus, ``[clip, frame, 2]`` in pixels.

    .. math:: x_t = x_0 + d \, (v t + a t (t - (T - 1)) / 2)

    with direction :math:`d`, mean speed :math:`v`, acceleration :math:`a` and :math:`T` frames.
    """
    time = torch.arange(frames, dtype=torch.float32)
    start = side * torch.tensor([motion.start for motion in motions])
    angle, speed, acceleration = torch.tensor(
        [(motion.direction, motion.speed, motion.acceleration) for motion in motions]
    ).unbind(1)
    length = speed[:, None] * time + acceleration[:, None] * time * (time - (frames - 1)) / 2
    return start[:, None] + length[..., None] * torch.stack((angle.cos(), angle.sin()), dim=1)[:, None]


def cover_motion(
    shapes: Sequence[str], centres: torch.Tensor, radii: torch.Tensor, angles: torch.Tensor, side: int = SIDE
) -> torch.Tensor:
    """How much of each pixel the shapes cover on a torus, ``[clip, frame, row, column]`` in [0, 1].

    Parameters
    ----------
    shapes : sequence of str
        One for each clip.
    centres : Tensor
        ``[clip, frame, 2]``: across and down, in pixels.
    radii, angles : Tensor
        ``[clip]``: in pixels, at most 6, and in radians.
    side : int
        Pixels along an edge, at least 16.
    """
    clips, frames, _ = centres.shape
    whole = centres.floor()
    stamps = coverage(
        [shape for shape in shapes for _ in range(frames)],
        (centres - whole + _STAMP / 2).flatten(0, 1),
        radii.repeat_interleave(frames),
        angles.repeat_interleave(frames),
        _STAMP,
    )
    around = torch.arange(_STAMP) - _STAMP // 2
    column, row = ((whole[..., None].long() + around) % side).flatten(0, 1).unbind(1)  # [image, stamp]
    cover = torch.zeros(clips * frames, side, side)
    cover[torch.arange(len(cover))[:, None, None], row[:, :, None], column[:, None, :]] = stamps
    return cover.unflatten(0, (clips, frames))


def render_motion(
    motions: Sequence[Motion], generator: torch.Generator, frames: int = FRAMES, side: int = SIDE
) -> torch.Tensor:
    """Draw clips with random radii, turns, tints and backgrounds: ``[clip, frame, 3, row, column]``.

    Values lie in [0, 1].
    """
    count = len(motions)
    still = backgrounds(count, generator, side)
    radii = RADII[0] + (RADII[1] - RADII[0]) * torch.rand(count, generator=generator)
    angles = 2 * math.pi * torch.rand(count, generator=generator)
    tints = torch.tensor([COLOURS[motion.colour] for motion in motions])
    tints = (tints + 0.04 * (2 * torch.rand(count, 3, generator=generator) - 1)).clamp(0, 1)
    cover = cover_motion(
        [motion.shape for motion in motions], paths(motions, frames, side), radii, angles, side
    )
    return torch.lerp(still[:, None], tints[:, None, :, None, None], cover[:, :, None])
