"""Blocks in the place of others: whether a phase shares its computation, or its layers only look alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cosine_similarity
from tqdm.auto import tqdm

from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.report import Table
from steerlab.rewiring import Rewired, rewired, wired


@dataclass(frozen=True, eq=False)
class Probe:
    """A few inputs and what the model makes of them.

    Parameters
    ----------
    model : Model
        The model as it is.
    inputs : object
        As for `Model.capture`.
    at : str
        The blocks.
    """

    model: Model
    inputs: Any
    at: str

    @property
    def site(self) -> str:
        """Where the output is read: behind the last norm."""
        return f"{self.at.rpartition('blocks')[0]}final"

    def final(self) -> torch.Tensor:
        """The final states ``[batch, (token,) dim]``."""
        return self.model.capture(self.inputs, at=self.site)[self.site].float()

    def moved(self, wiring: Rewired, base: torch.Tensor) -> float:
        """``1 - cos`` of the final states with the base's under a wiring, mean over tokens and inputs."""

        def effect() -> torch.Tensor:
            with rewired(self.model, wiring):
                return 1 - cosine_similarity(self.final(), base, dim=-1).mean().reshape(1)

        return float(kept(f"wiring {wiring}", effect))


def phase_of(cuts: Sequence[int], block: int) -> int:
    """The phase that a block is in."""
    return sum(block >= cut for cut in cuts)


def replaced(probe: Probe, cuts: Sequence[int], *, draws: int, seed: int) -> Table:
    """A row a replacement: neighbours in all pairs, and draws of 1, 2 and 3 blocks inside and across phases.

    Neighbours (one or two blocks apart) are compared at equal distance, so that across does not merely mean
    further away; the authors draw at random (arXiv 2512.19941).
    """
    blocks = len(probe.model.sites(f"{probe.at}.*.resid"))
    base = probe.final()
    columns = ("blocks", "replaced", "by", "kind", "effect", "draw")
    rows: dict[str, list] = {name: [] for name in columns}
    plans = [
        *((1, {a: b}, "neighbour") for a, b in _neighbours(blocks)),
        *_draws(blocks, cuts, draws, torch.Generator().manual_seed(seed)),
    ]
    for number, plan, draw in tqdm(plans, desc="replacing blocks", disable=None, leave=False):
        inside = all(phase_of(cuts, a) == phase_of(cuts, b) for a, b in plan.items())
        rows["blocks"].append(number)
        rows["replaced"].append(" ".join(map(str, plan)))
        rows["by"].append(" ".join(map(str, plan.values())))
        rows["kind"].append("inside" if inside else "across")
        rows["effect"].append(probe.moved(wired(probe.model, plan, at=probe.at), base))
        rows["draw"].append(draw)
    return {n: torch.tensor(v) if n in ("blocks", "effect") else v for n, v in rows.items()}


def means(table: Table, draw: str, number: int = 1) -> dict[str, float]:
    """Mean effects inside and across phases."""
    found = {}
    for kind in ("inside", "across"):
        chosen = [
            float(effect)
            for effect, k, d, n in zip(
                table["effect"], table["kind"], table["draw"], table["blocks"], strict=True
            )
            if (k, d, int(n)) == (kind, draw, number)
        ]
        found[kind] = sum(chosen) / len(chosen) if chosen else float("nan")
    return found


def matched(table: Table) -> dict[str, float]:
    """Mean effects of neighbours inside and across phases, each distance weighing as much on both sides."""
    sums: dict[int, dict[str, list[float]]] = {}
    for row in zip(
        table["effect"], table["kind"], table["draw"], table["replaced"], table["by"], strict=True
    ):
        effect, kind, draw, old, new = row
        if draw == "neighbour":
            gap = sums.setdefault(abs(int(old) - int(new)), {"inside": [], "across": []})
            gap[kind].append(float(effect))
    both = [gap for gap in sums.values() if gap["inside"] and gap["across"]]
    return {
        kind: sum(sum(gap[kind]) / len(gap[kind]) for gap in both) / len(both) if both else float("nan")
        for kind in ("inside", "across")
    }


def _neighbours(blocks: int) -> Iterator[tuple[int, int]]:
    return ((a, b) for a, b in itertools.permutations(range(blocks), 2) if abs(a - b) <= 2)


def _draws(
    blocks: int, cuts: Sequence[int], draws: int, generator: torch.Generator
) -> Iterator[tuple[int, dict[int, int], str]]:
    for number in (1, 2, 3):
        for inside, _ in itertools.product((True, False), range(draws)):
            plan: dict[int, int] = {}
            for old in torch.randperm(blocks, generator=generator).tolist():
                same = [b for b in range(blocks) if b != old and phase_of(cuts, b) == phase_of(cuts, old)]
                other = [b for b in range(blocks) if phase_of(cuts, b) != phase_of(cuts, old)]
                pool = same if inside else other
                if pool and len(plan) < number:
                    plan[old] = pool[int(torch.randint(len(pool), (), generator=generator))]
            if len(plan) == number:
                yield number, plan, "random"
