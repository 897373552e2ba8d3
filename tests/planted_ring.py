"""Seven values on a bent ring in 64 dimensions, with a read-out whose behaviour is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

import torch
from planted import generator, randn

from steerlab.bases import Manifold, Path, Shape, fit_manifold
from steerlab.edits import Replace
from steerlab.numerics.behaviour import Behaviour, fit_behaviour

DIM, COUNT, PROMPTS = 64, 7, 10
TURN = 2 * math.pi
PAIRS = list(combinations(range(COUNT), 2))


@dataclass(frozen=True)
class Ring:
    """Activations ``[prompt, dim]`` with labels ``[prompt]``, and the frame they were planted in."""

    frame: torch.Tensor
    x: torch.Tensor
    labels: torch.Tensor

    def clean(self, angle: torch.Tensor) -> torch.Tensor:
        """Points ``[..., dim]`` of the true curve."""
        e = self.frame
        first, second = (torch.stack([(n * angle).cos(), (n * angle).sin()], -1) for n in (1, 2))
        return 10 * first @ e[:2] + 2 * second @ e[2:4] + 3 * e[4]

    def read(self, h: torch.Tensor) -> torch.Tensor:
        """Distributions ``[..., COUNT + 1]`` over the values and something else."""
        values = torch.arange(COUNT, dtype=h.dtype) * TURN / COUNT
        axes = torch.stack([values.cos(), values.sin()], -1)
        logits = 0.9 * (h @ self.frame[:2].to(h).T) @ axes.T
        other = logits.new_full((*logits.shape[:-1], 1), 5.0)
        return torch.cat([logits, other], -1).softmax(-1)


@cache
def ring(seed: int = 0) -> Ring:
    """The ring of the methods: radius 10, overtone 2, noise 1 along eight other axes and .15 along all."""
    g = generator(seed)
    frame = torch.linalg.qr(randn(DIM, DIM, g=g)).Q.T.contiguous()
    labels = torch.arange(COUNT).repeat_interleave(PROMPTS)
    angle = labels * TURN / COUNT
    bare = Ring(frame, torch.empty(0), labels)
    noise = randn(len(labels), 8, g=g) @ frame[5:13] + 0.15 * randn(len(labels), DIM, g=g)
    return Ring(frame, bare.clean(angle.double()) + noise, labels)


@cache
def fitted(seed: int = 0) -> tuple[Manifold, Behaviour]:
    """Activation and behaviour manifold of the ring, as in the methods: angles, 16 components."""
    planted = ring(seed)
    manifold = fit_manifold(planted.x, planted.labels, shape=Shape(coords="angle"), pca=16)
    return manifold, fit_behaviour(planted.read(planted.x), planted.labels)


def in_order(order: tuple[int, ...]) -> torch.Tensor:
    """Angles of the values when they are taken to follow each other as `order` says."""
    angles = torch.empty(COUNT, dtype=torch.float64)
    angles[list(order)] = torch.arange(COUNT, dtype=torch.float64) * TURN / COUNT
    return angles


def wrong_orders() -> list[tuple[int, ...]]:
    """The 359 ways round that are not the right one in either direction."""
    every = [(0, *rest) for rest in permutations(range(1, COUNT)) if rest[0] < rest[-1]]
    return [order for order in every if order != tuple(range(COUNT))]


def gap_of(a: int, b: int) -> int:
    """How many steps round the ring lie between two values."""
    return min((b - a) % COUNT, (a - b) % COUNT)


def steered(path: Path, base: torch.Tensor) -> torch.Tensor:
    """Activations ``[prompt, waypoint, dim]`` of prompts ``[prompt, dim]`` at all waypoints of a path."""
    return Replace(path.points, path.basis)(base[:, None].expand(-1, len(path), -1))
