"""Whether models share concepts: firing together, translating into each other, agreeing index by index."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.numerics.fidelity import r2
from steerlab.numerics.geometry import unit

FIRES_ABOVE = 0.1  # what counts as firing in arXiv 2502.03714
FLOOR = 1e-5  # keeps the ratios of losses finite for atoms that are silent in a batch


def firing_entropy(counts: torch.Tensor) -> torch.Tensor:
    """How evenly the models use a concept: ``-(1 / log M) sum_m p_m log p_m`` (arXiv 2502.03714).

    Parameters
    ----------
    counts : Tensor
        How often each of M models fires each concept, ``[model, atom]``, M at least two.

    Returns
    -------
    Tensor
        ``[atom]``: 1 where all models fire alike, 0 where one alone does, nan where none does.
    """
    if len(counts) < 2:
        raise ValueError("entropy over models needs two models or more")
    shares = counts.double() / counts.double().sum(0)
    entropy = torch.special.entr(shares).sum(0)
    return entropy / torch.tensor(float(len(counts)), dtype=torch.float64).log()


def cofire_proportion(codes: Sequence[torch.Tensor], *, above: float = FIRES_ABOVE) -> torch.Tensor:
    """Share of a model's firings at which every model fires the same concept (arXiv 2502.03714).

    ``CFP_k^(i) = |tokens where all fire| / |tokens where model i fires|``.

    Parameters
    ----------
    codes : sequence of Tensor
        One ``[sample, atom]`` a model, matched by row and by atom.
    above : float
        A code above this fires.

    Returns
    -------
    Tensor
        ``[model, atom]``; nan where a model never fires the concept.
    """
    fires = torch.stack([z > above for z in codes])
    return fires.all(0).sum(0).double() / fires.sum(1).double()


def mean_contribution(codes: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    """Energy of arXiv 2502.03714, ``|| E[z_k] d_k ||^2``: codes ``[sample, atom]``, atoms ``[atom, dim]``."""
    return codes.double().mean(0).square() * atoms.double().square().sum(1)


def mapped(codes: torch.Tensor, index: torch.Tensor, *, atoms: int) -> torch.Tensor:
    """Codes ``[..., atom]`` carried to a dictionary of `atoms` atoms; code k moves to place ``index[k]``.

    Codes that share a place add up; a place nobody points at is zero.
    """
    moved = codes.new_zeros(*codes.shape[:-1], atoms)
    return moved.index_add(-1, index.to(codes.device), codes)


def translation_r2(
    codes: torch.Tensor,
    target: torch.Tensor,
    *,
    atoms: torch.Tensor,
    index: torch.Tensor | None = None,
    offset: torch.Tensor | float = 0.0,
) -> float:
    """How well one model's codes, decoded with another model's atoms, give the other's activations.

    ``T = 1 - sum ||x2 - D2(pi z1)||^2 / sum ||x2 - mean x2||^2``: our own score for the translation
    property of arXiv 2606.09653.

    Parameters
    ----------
    codes, target : Tensor
        ``[sample, atom]`` of the first model and ``[sample, dim]`` of the second, on the same inputs.
    atoms : Tensor
        The second model's, ``[other, dim]``.
    index : Tensor or None
        Where each code goes among the second's atoms, ``[atom]``; None keeps the places.
    offset : Tensor or float
        The second dictionary's decoder bias.
    """
    z = codes.double()
    z = z if index is None else mapped(z, index, atoms=len(atoms))
    return r2(target.double(), z @ atoms.double() + offset)


def consistency(
    first: torch.Tensor, second: torch.Tensor, *, index: torch.Tensor | None = None
) -> torch.Tensor:
    """Correlation of each concept's codes in two models on the same inputs; our own (see arXiv 2606.09653).

    Parameters
    ----------
    first, second : Tensor
        ``[sample, atom]`` and ``[sample, other]``.
    index : Tensor or None
        Which atom of the second each atom of the first stands for, ``[atom]``.

    Returns
    -------
    Tensor
        ``[atom]``; 0 where a code never varies.
    """
    a, b = first.double(), second.double()
    b = b if index is None else b[:, index]
    return (unit((a - a.mean(0)).T) * unit((b - b.mean(0)).T)).sum(1)


def edit_agreement(change: torch.Tensor, atom: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether a change made in one model moves another along the atom it should; our own scores.

    Parameters
    ----------
    change, atom : Tensor
        What happened, ``[..., dim]``, and the direction that should have happened, ``[dim]``.

    Returns
    -------
    cosine, off_target : Tensor
        ``cos(change, d)`` and the share of the change's energy off the line, ``||c - proj||^2 / ||c||^2``;
        ``[...]`` each.
    """
    c, d = change.double(), unit(atom)
    along = c @ d
    energy = c.square().sum(-1)
    rest = (c - along[..., None] * d).square().sum(-1)
    return along / energy.sqrt(), rest / energy


def iso_energy_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``mean_k |E1_k - E2_k| / (E1_k + E2_k + 1e-5)`` with E the mean square of codes ``[sample, atom]``.

    It needs no pairs: 0 where each concept has equal energy in both groups (arXiv 2602.06218).
    """
    a, b = first.square().mean(0), second.square().mean(0)
    return ((a - b).abs() / (a + b + FLOOR)).mean()


def iso_distribution_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean gap between the sorted ``log(|z| + 1e-5)`` of two groups of codes ``[sample, atom]``.

    The groups are equally large. The form is our own: sources only say that sorted magnitudes are compared
    on a log scale.
    """
    if len(first) != len(second):
        raise ValueError(
            f"{len(first)} and {len(second)} samples have no common ranks: subsample to one size"
        )
    a, b = ((z.abs() + FLOOR).log().sort(0).values for z in (first, second))
    return (a - b).abs().mean()


def paired_code_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``mean_{k,i} (z1 - z2)^2 / (E z1^2 + E z2^2 + 1e-5)`` of paired codes ``[sample, atom]``."""
    size = first.square().mean(0) + second.square().mean(0) + FLOOR
    return ((first - second).square() / size).mean()


def auc(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Chance that a positive sample's code exceeds a negative's, a tie counting half (area under the ROC).

    Parameters
    ----------
    positive, negative : Tensor
        ``[sample, atom]`` each.

    Returns
    -------
    Tensor
        ``[atom]``; .5 says nothing, 1 and 0 separate.
    """
    ordered = negative.double().T.contiguous().sort(1).values
    asked = positive.double().T.contiguous()
    below = torch.searchsorted(ordered, asked).double()
    up_to = torch.searchsorted(ordered, asked, right=True).double()
    return ((below + up_to) / 2).mean(1) / ordered.shape[1]
