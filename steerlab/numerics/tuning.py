"""How well coordinates follow a known quantity: read-outs of lines and angles, and their held-out scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

_RIDGE = 1e-6  # of the mean square of a feature


def circular_correlation(a: torch.Tensor, b: torch.Tensor, period: float = 2 * math.pi) -> torch.Tensor:
    """The correlation of angles of Fisher and Lee (Biometrika 70, 1983), over the last axis, in [-1, 1].

    ``sum_ij sin(a_i - a_j) sin(b_i - b_j)`` over the root of the product of both with themselves. It knows
    no mean, which evenly spread angles do not have, and is 1 for ``b = a + c``, -1 for ``b = c - a``. What
    does not vary follows nothing: 0 (our own definition).
    """
    a, b = (angle.double() * (2 * math.pi / period) for angle in torch.broadcast_tensors(a, b))
    cc, ss = (a.cos() * b.cos()).sum(-1), (a.sin() * b.sin()).sum(-1)
    cs, sc = (a.cos() * b.sin()).sum(-1), (a.sin() * b.cos()).sum(-1)
    count = a.shape[-1]
    sizes = [count**2 - (2 * x).cos().sum(-1).square() - (2 * x).sin().sum(-1).square() for x in (a, b)]
    varies = torch.minimum(*sizes) > 1e-9 * count**2  # rounding alone leaves about 1e-15 of it
    return torch.where(varies, 4 * (cc * ss - cs * sc) / (sizes[0] * sizes[1]).clamp_min(1e-30).sqrt(), 0.0)


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear reading of features: of a line itself, of an angle its cosine and sine (our own definition).

    Parameters
    ----------
    weights : Tensor
        ``[..., feature + 1, 1 or 2]``, the constant last.
    period : float, optional
        Of an angle; None for a line.
    """

    weights: torch.Tensor
    period: float | None

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """What is read of features ``[..., row, feature]``: ``[..., row]``, angles in [0, period)."""
        raw = with_constant(features.double()) @ self.weights
        if self.period is None:
            return raw[..., 0]
        angle = torch.atan2(raw[..., 1], raw[..., 0]) * (self.period / (2 * math.pi))
        return torch.remainder(angle, self.period)

    def score(self, features: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Circular correlation of an angle, R2 of a line, ``[...]``; of rows that it was not fitted on."""
        if self.period is None:
            return self.explained(features, values)
        return circular_correlation(self(features), values, self.period)

    def explained(self, features: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """R2 of a line, or of an angle's cosine and sine together, ``[...]``.

        One direction that reads the cosine perfectly has a half of the latter, and a circular correlation of
        0: it takes every angle for its mirror image as often as not.
        """
        read = with_constant(features.double()) @ self.weights
        target = on_circle(values, self.period)
        return 1 - (read - target).square().sum((-2, -1)) / (target - target.mean(0)).square().sum()


def fit_readout(features: torch.Tensor, values: torch.Tensor, period: float | None = None) -> Readout:
    """Least squares, with a faint ridge, of values ``[row]`` on features ``[..., row, feature]``."""
    wide = with_constant(features.double())
    target = on_circle(values, period)
    gram = wide.mT @ wide
    size = gram.diagonal(dim1=-2, dim2=-1)
    # a feature that is always 0 has no scale of its own
    gram = gram + torch.diag_embed(_RIDGE * size + 1e-12 * size.amax(-1, keepdim=True).clamp_min(1e-12))
    return Readout(torch.linalg.solve(gram, wide.mT @ target), period)


def on_circle(values: torch.Tensor, period: float | None) -> torch.Tensor:
    """Cosine and sine ``[row, 2]`` of angles ``[row]``; without a period the values ``[row, 1]``."""
    target = values.double()[:, None]
    if period is None:
        return target
    turn = target * (2 * math.pi / period)
    return torch.cat([turn.cos(), turn.sin()], -1)


def with_constant(features: torch.Tensor) -> torch.Tensor:
    """Features ``[..., row, feature + 1]`` with a column of ones."""
    return torch.cat([features, torch.ones_like(features[..., :1])], -1)


def powers(values: torch.Tensor, degree: int = 3) -> torch.Tensor:
    """``v, v^2, ..., v^degree`` of coordinates ``[...]``: ``[..., degree]``.

    So that one direction may be read by a curve, where several coordinates are read by a plane: a fair
    opponent. Bring values to about 1 first.
    """
    return torch.stack([values**k for k in range(1, degree + 1)], -1)
