"""Numbers planted as waves in six orthogonal planes, with a read-out whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from planted import frame, generator, randn

from steerlab.bases import FourierCode, fourier_probes

PERIODS = (2, 5, 10, 20, 50, 100)
DIM, COUNT = 64, 2000


@dataclass(frozen=True)
class Numbers:
    """Activations ``[sample, dim]`` of numbers ``[sample]``, the planes, and other numbers to steer to."""

    planes: torch.Tensor
    x: torch.Tensor
    numbers: torch.Tensor
    targets: torch.Tensor
    code: FourierCode

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The number below 100 whose waves agree most with what stands in the planes, ``[sample]``."""
        return (x.double() @ self.planes.T @ pairs(torch.arange(100)).T).argmax(-1)


def pairs(numbers: torch.Tensor) -> torch.Tensor:
    """Cosine and sine of every period, that of 2 included, ``[sample, 12]``."""
    n = numbers.double()[..., None]
    angles = 2 * torch.pi * n / torch.tensor(PERIODS, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], -1).flatten(-2)


@cache
def numbers(seed: int = 0) -> Numbers:
    """The construction of the methods: amplitude 3, noise .02, 64 dimensions, 2000 samples."""
    g = generator(seed)
    planes = frame(2 * len(PERIODS), DIM, g)
    n = torch.arange(100).repeat(COUNT // 100)
    targets = torch.randint(100, (COUNT,), generator=g)
    x = 3 * pairs(n) @ planes + 0.02 * randn(COUNT, DIM, g=g)
    return Numbers(planes, x, n, targets, fourier_probes(x, n, PERIODS))


def right(found: torch.Tensor, wanted: torch.Tensor) -> dict[int, float]:
    """Share of answers that are right modulo 10, 20 and 100."""
    return {m: float((found % m == wanted % m).double().mean()) for m in (10, 20, 100)}
