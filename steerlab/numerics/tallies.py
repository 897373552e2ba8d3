"""Statistics of codes, atom by atom, gathered batch by batch with memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CodeTally:
    """Sums over codes; start from `tally`, go on with `merge`.

    Papers call three different things energy: the mean code (`mean`, arXiv 2504.11695), the mean square
    (`energy`, arXiv 2602.06218) and the norm of the mean contribution (arXiv 2502.03714). Here the
    word is kept for the mean square, which codes of both signs cannot cancel.

    Attributes
    ----------
    samples : int
        How many code vectors were seen.
    total, squares : Tensor
        Sums of the codes and of their squares, ``[atom]``.
    fired : Tensor
        How often each code was not zero, ``[atom]``.
    peak : Tensor
        Largest ``|z|``, ``[atom]``.
    """

    samples: int
    total: torch.Tensor
    squares: torch.Tensor
    fired: torch.Tensor
    peak: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """``E[z]`` over all samples, ``[atom]``."""
        return self.total / self.samples

    @property
    def energy(self) -> torch.Tensor:
        """``E[z^2]`` over all samples, ``[atom]``."""
        return self.squares / self.samples

    @property
    def active_mean(self) -> torch.Tensor:
        """Mean code over the samples where the atom fired, ``[atom]``; 0 where it never did."""
        return self.total / self.fired.clamp_min(1)

    @property
    def deviation(self) -> torch.Tensor:
        """Standard deviation over all samples (divided by n), ``[atom]``."""
        return (self.energy - self.mean.square()).clamp_min(0).sqrt()

    @property
    def l0(self) -> float:
        """Mean number of codes that are not zero in a sample; a negative code counts."""
        return float(self.fired.sum()) / self.samples

    @property
    def dead(self) -> torch.Tensor:
        """Atoms that fired in none of `samples` samples, ``[atom]``; a verdict on that budget alone."""
        return self.fired == 0

    def merge(self, other: CodeTally) -> CodeTally:
        """The tally over the samples of both."""
        return CodeTally(
            samples=self.samples + other.samples,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            fired=self.fired + other.fired,
            peak=torch.maximum(self.peak, other.peak),
        )


def tally(codes: torch.Tensor) -> CodeTally:
    """Gather the statistics of codes ``[..., atom]``; every leading axis counts as samples."""
    z = codes.reshape(-1, codes.shape[-1]).double()
    if not len(z):
        raise ValueError("no codes to count")
    return CodeTally(len(z), z.sum(0), z.square().sum(0), (z != 0).sum(0), z.abs().amax(0))
