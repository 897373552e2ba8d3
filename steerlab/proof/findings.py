"""What a proof has found so far: points, refusals, and how close two tensors are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steerlab.families.family import Block
from steerlab.points import Point
from steerlab.sites import Site


@dataclass(eq=False)
class Part:
    """One block of a tower with the row that describes it."""

    place: str
    module: nn.Module
    row: Block
    tower: str


@dataclass(eq=False)
class Findings:
    """Points proved so far and refusals with their reasons."""

    model: Any
    known: dict[Site, Point] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, stream: str, module: nn.Module, side: str, **facts: Any) -> None:
        """Note a point."""
        site = Site(place, stream)
        self.known[site] = Point(site, module, side, **facts)

    def refuse(self, place: str, stream: str, reason: str) -> None:
        """Note why a site does not exist."""
        self.refused[str(Site(place, stream))] = reason

    def withdraw(self, place: str, stream: str, reason: str) -> None:
        """Take a point back and note why; an earlier reason for its absence stays."""
        self.known.pop(Site(place, stream), None)
        self.refused.setdefault(str(Site(place, stream)), reason)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the largest entry of `b`."""
    return float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp_min(1e-12))


def tolerance(x: torch.Tensor) -> float:
    """How far rounding may take two ways of computing the same thing."""
    return 1e-4 if x.dtype == torch.float32 else 5e-2


def same(a: torch.Tensor | None, b: torch.Tensor | None, within: float | None = None) -> bool:
    """Whether two tensors hold the same numbers, however their leading axes are folded."""
    if a is None or b is None or a.numel() != b.numel() or a.dtype != b.dtype:
        return False
    return a.shape[-1] == b.shape[-1] and distance(a.reshape(b.shape), b) <= (
        tolerance(b) if within is None else within
    )
