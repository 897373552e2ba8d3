"""All pairs of values steered in every mode, and every value aimed at: the numbers behind the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from steerlab.analyzers.manifold_steering.prompts import Concept, Prompt
from steerlab.analyzers.manifold_steering.reading import Answers
from steerlab.analyzers.manifold_steering.steering import Walked, walked, way
from steerlab.bases import Manifold
from steerlab.keeping import kept
from steerlab.numerics.behaviour import Behaviour

Pair = tuple[int, int]
ROWS = 64  # that share a forward


@dataclass(frozen=True, eq=False)
class Steered:
    """Prompts at a site, with the curve that they are steered along.

    Parameters
    ----------
    answers : Answers
        The base prompts, the same ones for all pairs.
    prompts : list of Prompt
        The same, with their right answers.
    base : Tensor
        Their own activations, ``[prompt, dim]``.
    said : Tensor
        The values they are answered with unsteered, ``[prompt]``.
    manifold : Manifold
        The curve of activations.
    named : bool
        Whether the steered token names a value, so that the answer lies an offset further.
    """

    answers: Answers
    prompts: list[Prompt]
    base: torch.Tensor
    said: torch.Tensor
    manifold: Manifold
    named: bool = False

    def wanted(self, value: int, concept: Concept) -> torch.Tensor:
        """What a prompt should be answered with when it is steered to a value, ``[prompt]``; -1 for none."""
        if not self.named:
            return torch.full((len(self.prompts),), value)
        numbers = [concept.number(value + prompt.offset) for prompt in self.prompts]
        return torch.tensor([-1 if number is None else number for number in numbers])


def pairs_of(concept: Concept, most: int | None, seed: int) -> list[Pair]:
    """Unordered pairs of values: all of them, or so many drawn at random."""
    pairs = list(combinations(range(len(concept.values)), 2))
    if most is None or most >= len(pairs):
        return pairs
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:most]
    return [pairs[i] for i in sorted(order.tolist())]


def walks(
    steered: Steered, behaviour: Behaviour, pairs: Sequence[Pair], modes: Sequence[str], count: int
) -> dict[tuple[Pair, str], Walked]:
    """Every pair in every mode, and the change of the manifold way in random dimensions."""
    from tqdm.auto import tqdm

    found, together = {}, max(1, ROWS // count)  # a few waypoints make no forward worth its weights
    groups = [pairs[i : i + together] for i in range(0, len(pairs), together)]
    for group in tqdm(groups, desc="pairs", disable=None, leave=False):
        for mode in modes:
            ways = [way(steered.manifold, mode, pair, count) for pair in group]
            name = f"{mode} {list(group)} {count} at {steered.answers.site}"
            several = walked(steered.answers, ways, steered.base, behaviour, name)
            found |= {(pair, mode): one for pair, one in zip(group, several, strict=True)}
    return {(pair, mode): found[pair, mode] for pair in pairs for mode in modes}


def aimed(steered: Steered, concept: Concept, modes: Sequence[str]) -> dict[str, torch.Tensor]:
    """Steer every prompt to the end of the way to every value: what it is then answered with.

    Returns
    -------
    dict
        For each mode ``[row, 3]``: the gap between the unsteered answer and the one aimed at, whether it
        became that one, and its probability; a row a prompt and value.
    """
    found, last = {}, len(concept.values) - 1
    for mode in modes:
        ways = [
            way(steered.manifold, mode, (value - 1 if value else last, value), 2) for value in range(last + 1)
        ]
        values = torch.stack([one.values[-1] for one in ways])
        what = f"ends of {mode} at {steered.answers.site}"
        p = kept(what, lambda ways=ways, values=values: steered.answers.under(ways[0].edit, values)).double()
        rows = []
        for value in range(last + 1):
            for i, want in enumerate(steered.wanted(value, concept).tolist()):
                if want >= 0:
                    gap = concept.gap(int(steered.said[i]), want)
                    hit = float(p[value, i, :-1].argmax() == want)
                    rows.append((float(gap), hit, float(p[value, i, want])))
        found[mode] = torch.tensor(rows, dtype=torch.float64)
    return found
