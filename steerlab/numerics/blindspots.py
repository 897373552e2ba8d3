"""Concepts that one set of images shows less, or more, than another: a generator's blindspots."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.significance import discoveries, permutation_test, welch_test

SUPPRESSED, EXAGGERATED = 0.1, 0.9


@dataclass(frozen=True)
class Blindspots:
    """The score of each concept, with its chance.

    Attributes
    ----------
    delta : Tensor
        ``[atom]`` in (0, 1); .5 where both sets agree.
    scale : Tensor
        The units in which the differences were read, ``[atom]``.
    p : Tensor
        Two-sided, of the difference of means, ``[atom]``.
    """

    delta: torch.Tensor
    scale: torch.Tensor
    p: torch.Tensor

    @property
    def suppressed(self) -> torch.Tensor:
        """``delta < .1``, ``[atom]``: a difference beyond ``-ln 9`` scales."""
        return self.delta < SUPPRESSED

    @property
    def exaggerated(self) -> torch.Tensor:
        """``delta > .9``, ``[atom]``."""
        return self.delta > EXAGGERATED

    def significant(self, rate: float = 0.05) -> torch.Tensor:
        """Atoms ``[atom]`` whose difference stands with false discoveries at `rate` (Benjamini-Hochberg)."""
        return discoveries(self.p, rate=rate)


def pooled_deviation(generated: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Root of the two sets' mean variance, ``[image, atom]`` to ``[atom]``: a scale that codes carry.

    Our own choice. An atom that never varies gets scale one.
    """
    spread = ((generated.double().var(0) + real.double().var(0)) / 2).sqrt()
    return spread.masked_fill(spread == 0, 1.0)


def blindspots(
    generated: torch.Tensor,
    real: torch.Tensor,
    *,
    scale: float | torch.Tensor = 1.0,
    rounds: int = 0,
    seed: int = 0,
) -> Blindspots:
    """Score ``delta_k = sigmoid((E_generated[xi_k] - E_real[xi_k]) / scale_k)`` of every concept.

    The score and its two thresholds are those of "Conceptual blindspots" (ICLR 2026), where the scale is
    one. How the energy ``xi_k`` of an image is pooled from its tokens is left to the caller. The
    thresholds depend on the units of the codes, so the scale is part of the answer (our own addition):
    with `pooled_deviation`, a blindspot is a shift of 2.2 standard deviations.

    Parameters
    ----------
    generated, real : Tensor
        Concept energies ``[image, atom]``; the images need no pairing.
    scale : float or Tensor
        Units of the difference, one for all or ``[atom]``.
    rounds : int
        0 for Welch's test, otherwise the number of shuffles of a permutation test.
    seed : int
        Of the shuffles.
    """
    shift = generated.double().mean(0) - real.double().mean(0)
    units = torch.as_tensor(scale, dtype=torch.float64, device=shift.device).expand_as(shift)
    if not bool((units > 0).all()):
        raise ValueError("the scale of a difference must be positive")
    if rounds:
        p = permutation_test(generated, real, rounds=rounds, seed=seed)
    else:
        p = welch_test(generated, real)[1]
    return Blindspots((shift / units).sigmoid(), units, p)
