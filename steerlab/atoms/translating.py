"""Whether dictionaries of several models mean the same by the same number: translation, codes and edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from steerlab.bases.dictionary import Dictionary
from steerlab.errors import SteerlabError
from steerlab.numerics.concepts import edit_agreement, mapped
from steerlab.numerics.determination import RunningR2


@dataclass(frozen=True, eq=False)
class TranslationReport:
    """Scores of every ordered pair of models; all of them are our own definitions (after arXiv 2606.09653).

    Attributes
    ----------
    r2 : Tensor
        Variance of model j's activations that model i's codes explain through model j's atoms,
        ``[source i, target j]``.
    permuted : Tensor
        The same with concepts in a random order: what a shared index must beat.
    consistency : Tensor
        Correlation of the codes of each concept, ``[source, target, atom]``; nan where one never varies.
    cosine, off_target : Tensor
        A concept is added in model i, which encodes again; cosine of what the changed codes change in
        model j with j's atom, and the share of that change off its line, ``[source, target, concept]``.
    elsewhere : Tensor
        The same cosine with the atom of another concept, like `cosine`: what a wrong index would give.
    concepts : Tensor
        Which concepts were edited, ``[concept]``.
    """

    r2: torch.Tensor
    permuted: torch.Tensor
    consistency: torch.Tensor
    cosine: torch.Tensor
    off_target: torch.Tensor
    elsewhere: torch.Tensor
    concepts: torch.Tensor


def translation(
    dictionaries: Sequence[Dictionary],
    batches: Iterable[Sequence[torch.Tensor]],
    *,
    concepts: Sequence[int] | torch.Tensor | None = None,
    seed: int = 0,
) -> TranslationReport:
    """Score dictionaries with a shared index on paired activations, batch by batch.

    Parameters
    ----------
    dictionaries : sequence of Dictionary
        One a model, with equally many atoms.
    batches : iterable of sequences of Tensor
        Rows of each model that belong together, ``[..., dim]``.
    concepts : sequence of int, optional
        Those that are edited, by the mean of their active codes in each source; by default none.
    seed : int
        Of the permutation.
    """
    count, atoms = len(dictionaries), len(dictionaries[0])
    if count < 2 or any(len(one) != atoms for one in dictionaries):
        raise SteerlabError(f"a shared index needs two dictionaries or more of one size, not {dictionaries}")
    chosen = torch.as_tensor([] if concepts is None else concepts, dtype=torch.long)
    order = torch.randperm(atoms, generator=torch.Generator().manual_seed(seed))
    right = [[RunningR2() for _ in dictionaries] for _ in dictionaries]
    wrong = [[RunningR2() for _ in dictionaries] for _ in dictionaries]
    sums = torch.zeros(count, 2, atoms, dtype=torch.float64)
    cross = torch.zeros(count, count, atoms, dtype=torch.float64)
    edits = torch.zeros(3, count, count, len(chosen), dtype=torch.float64)
    rows = 0
    for batch in tqdm(batches, desc="translating", disable=None, leave=False):
        x = [part.reshape(-1, part.shape[-1]) for part in batch]
        z = [one.encode(part).double() for one, part in zip(dictionaries, x, strict=True)]
        rows += len(x[0])
        for i, codes in enumerate(z):
            sums[i, 0] += codes.sum(0)
            sums[i, 1] += codes.square().sum(0)
            shuffled = mapped(codes, order, atoms=atoms)
            for j, target in enumerate(dictionaries):
                right[i][j].add(target.decode(codes.to(x[j])), x[j])
                wrong[i][j].add(target.decode(shuffled.to(x[j])), x[j])
                cross[i, j] += (codes * z[j]).sum(0)
        for number, concept in enumerate(chosen.tolist()):
            for i in range(count):
                wrong_one = int(order[concept]) if int(order[concept]) != concept else (concept + 1) % atoms
                edits[:, i, :, number] += _edited(dictionaries, x[i], z[i], i, (concept, wrong_one))
    if not rows:
        raise SteerlabError("no activations: there is not one row to translate")
    mean, square = sums[:, 0] / rows, sums[:, 1] / rows
    spread = (square - mean.square()).clamp_min(0).sqrt()
    size = spread[:, None] * spread
    together = cross / rows - mean[:, None] * mean
    return TranslationReport(
        torch.tensor([[one.value for one in some] for some in right]),
        torch.tensor([[one.value for one in some] for some in wrong]),
        torch.where(size > 1e-12, together / size, torch.nan),
        edits[0] / rows,
        edits[1] / rows,
        edits[2] / rows,
        chosen,
    )


def _edited(
    dictionaries: Sequence[Dictionary],
    x: torch.Tensor,
    codes: torch.Tensor,
    source: int,
    pair: tuple[int, int],
) -> torch.Tensor:
    """Sums over rows of cosine, off-target share and cosine with a wrong atom, ``[3, target]``."""
    own, (concept, wrong) = dictionaries[source], pair
    active = codes[:, concept]
    amount = float(active[active > 0].mean()) if bool((active > 0).any()) else 1.0
    after = own.encode(x + amount * own.decoder[concept]).double()
    found = []
    for target in dictionaries:
        change = (after - codes) @ target.decoder.double()
        cosine, rest = edit_agreement(change, target.decoder[concept])
        other, _ = edit_agreement(change, target.decoder[wrong])
        # where nothing changes the concept was not even read again: that is no agreement
        three = (cosine.nan_to_num(0.0), rest.nan_to_num(1.0), other.nan_to_num(0.0))
        found.append(torch.stack([one.sum() for one in three]))
    return torch.stack(found, 1)
