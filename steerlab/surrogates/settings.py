"""How a surrogate is trained: one frozen value, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from steerlab.errors import SteerlabError

_WHOLE = (("batch", 1), ("steps", 1), ("steps_together", 0), ("warmup", 0), ("hidden", 0), ("seed", 0))
_NUMBERS = ("lr", "floor", "decay", "clip", "layer_scale")


@dataclass(frozen=True)
class Distilling:
    """Settings of a training in two stages (arXiv 2512.19941); defaults in brackets are the authors'.

    Parameters
    ----------
    batch : int
        Inputs in a step (64).
    steps, steps_together : int
        Steps of stage 1, in which each block is trained alone from the teacher's state where its segment
        begins, and of stage 2, in which all run after one another from the teacher's first state
        (312,500 each).
    lr, floor, decay, clip : float
        AdamW's peak rate (3e-4), the rate that the cosine falls to (1e-6), weight decay (1e-4), and the
        largest norm of a gradient (1.0).
    warmup : int
        Steps of linear warm-up in each stage (10,000).
    annealed : float
        Over which part of stage 1 the weight of teacher forcing falls from 1 to 0 (0.25). 1 and 0 are those
        of no autoregression at the beginning and of nothing but autoregression.
    last, together : mapping
        Weights of the groups of tokens: for the last block in stage 1 (.34 / .33 / .33), and for all in stage
        2 (.45 / .10 / .45). Groups that a model lacks are left out and the others brought to the same sum,
        which is our own reading. Other blocks in stage 1 are trained on the plain mean over tokens.
    relative : bool
        Divide the error at each layer by its target's mean square (our own; the authors do not): shallow
        layers, whose states are short, then count as much as deep ones.
    layer_scale : float
        First value of the shared blocks' LayerScale (1e-5); a short training needs a larger one.
    hidden : int
        Width inside the gated MLP; 0 for four times the stream's (the authors').
    checkpoint : bool
        Compute the inside of each step again on the way back, so that memory holds one block.
    half : bool
        Matrix products in bfloat16, weights in float32.
    seed : int
        Of first weights and of the order of the inputs.
    at : str
        The blocks, as in a site: ``"blocks"``, ``"vision.blocks"``.
    span : tuple of int, optional
        First block that is replaced, and the one after the last; all by default.
    """

    batch: int = 64
    steps: int = 2000
    steps_together: int = 2000
    lr: float = 3e-4
    floor: float = 1e-6
    decay: float = 1e-4
    clip: float = 1.0
    warmup: int = 100
    annealed: float = 0.25
    last: Mapping[str, float] = field(
        default_factory=lambda: {"cls": 0.34, "registers": 0.33, "patches": 0.33}
    )
    together: Mapping[str, float] = field(
        default_factory=lambda: {"cls": 0.45, "registers": 0.10, "patches": 0.45}
    )
    relative: bool = False
    layer_scale: float = 1e-5
    hidden: int = 0
    checkpoint: bool = False
    half: bool = False
    seed: int = 0
    at: str = "blocks"
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, least in _WHOLE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SteerlabError(f"Distilling: {name}={value!r} is not a whole number of {least} or more")
        for name in _NUMBERS:
            if not _is_number(getattr(self, name)):
                raise SteerlabError(
                    f"Distilling: {name}={getattr(self, name)!r} is not a number of 0 or more"
                )
        if not _is_number(self.annealed) or self.annealed > 1:
            raise SteerlabError(f"Distilling: annealed={self.annealed!r} is not a part, from 0 to 1")
        for name in ("last", "together"):
            weights = getattr(self, name)
            if not isinstance(weights, Mapping) or not all(map(_is_number, weights.values())):
                raise SteerlabError(f"Distilling: {name}={weights!r}; give a weight for each group of tokens")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step of a stage, counted from 0: linear warm-up, then half a cosine."""
        warm = min(self.warmup, steps - 1)
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        done = (step - warm) / max(1, steps - warm)
        return self.floor + (self.lr - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def forcing(self, step: int) -> float:
        """The weight ``lambda`` of teacher forcing at a step of stage 1."""
        falls = self.annealed * self.steps
        return max(0.0, 1 - step / falls) if falls else 0.0


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) >= 0
    )
