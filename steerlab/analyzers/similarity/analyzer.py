"""Similarity: the question, its measures beside shuffled rows, and what removing the shared part does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.batches import first_rows
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.analyzers.similarity.gathering import Gathered, Source, gather, sources_of, with_atoms
from steerlab.bases import Dictionary, Subspace
from steerlab.edits import Project, Remove
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.loading import load
from steerlab.model import Model
from steerlab.numerics.similarity import (
    Moments,
    linear_cka,
    regression_r2,
    rsa,
    shared_directions,
    unbiased_cka,
)
from steerlab.report import Evidence, Plot, Report
from steerlab.store import made_on
from steerlab.tokens import TokenChoice


@dataclass(frozen=True)
class Similarity(Analyzer):
    """Compare representations of the same inputs: linear CKA, RSA and how well one predicts the other.

    CKA is arXiv 1905.00414, with the unbiased HSIC of arXiv 2010.15327 beside it, computed from moments over
    all inputs; RSA (Kriegeskorte et al. 2008) is over the first 256 rows; the regression is fitted to
    every second input and told on the others. The null is the same on rows in random order, of those 256.
    The part that two representations share, the directions of their largest canonical correlations, is then
    removed from the model, beside random directions and those of most variance; that test is our own.

    Parameters
    ----------
    at : str or list of str
        Sites, wildcards included.
    other : str, optional
        A second model, as for `steerlab.load`, that sees the same inputs.
    other_at : str or list of str, optional
        Its sites; the same as `at` by default.
    dictionaries : list of Dictionary
        Of this model: their codes are compared too, each at its own site.
    pair : list of str, optional
        The two representations whose shared part is removed, as the table ``similarity`` names them; the
        first and the last site by default, or the two of different models that are most alike.
    tokens : optional
        Tokens, as in a scope; the patches by default, in texts all but the first.
    pooled : bool
        Whether a row is the mean over these tokens, or each token by itself.
    rank, atoms : int
        Shared directions; atoms of a dictionary, those of most energy.
    ridge : float
        The penalty of the regressions, times the mean variance.
    controls, batch : int
        Random choices beside each finding; inputs that share a forward.
    """

    at: str | Sequence[str] = "blocks.*.resid"
    other: str | None = None
    other_at: str | Sequence[str] | None = None
    dictionaries: Sequence[Any] = ()
    pair: Sequence[str] | None = None
    tokens: TokenChoice | None = None
    pooled: bool = True
    rank: int = 8
    atoms: int = 256
    ridge: float = 0.1
    controls: int = 3
    batch: int = 16

    def __post_init__(self) -> None:
        check_whole(self, "rank", "atoms", "controls", "batch")
        if not is_number(self.ridge) or self.ridge <= 0:
            raise SteerlabError(f"Similarity: ridge={self.ridge!r} is not a number above 0")
        if not all(isinstance(one, Dictionary) for one in self.dictionaries):
            raise SteerlabError("Similarity: dictionaries is a list of dictionaries")
        if self.pair is not None and (isinstance(self.pair, str) or len(self.pair) != 2):
            raise SteerlabError(f"Similarity: pair={self.pair!r}; give the names of two representations")
        if self.other_at is not None and self.other is None:
            raise SteerlabError("Similarity: other_at names sites of a second model; give other=")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``similarity`` (a row a representation), ``pairs`` and ``removed``."""
        sources = self._sources(model, data)
        names = [source.name for source in sources]
        found = gather(sources, data, tokens=self.tokens, pooled=self.pooled, batch=self.batch)
        grids = self._grids(found)
        first, second = self._pair(sources, grids["CKA, unbiased"])
        null = [self._null(found, first, second, seed) for seed in range(self.controls)]
        edits, removed, evidence = self._shared(model, data, sources, found, (first, second))
        rows, columns = torch.triu_indices(len(names), len(names), 1)
        said = f"{names[first]} and {names[second]}"
        observed = [
            Evidence(
                f"{measure} of {said} (controls: rows in random order)", "observed", value, tuple(others)
            )
            for measure, value, others in (
                ("unbiased CKA", float(grids["CKA, unbiased"][first, second]), [n[0] for n in null]),
                ("RSA", float(grids["RSA"][first, second]), [n[1] for n in null]),
                ("regression R2", float(grids["R2"][first, second]), [n[2] for n in null]),
            )
        ]
        return Report(
            title=f"Similarity of {len(names)} representations over {found.whole.count} rows",
            about=f"Linear CKA, RSA over {len(found.sample[0])} rows, and regressions told on other inputs.",
            tables={
                "similarity": {"representation": names, "phase": torch.arange(len(names)), **grids},
                "pairs": {
                    "first": [names[i] for i in rows],
                    "second": [names[i] for i in columns],
                    **{name: grid[rows, columns] for name, grid in grids.items() if name != "R2"},
                    "R2, first to second": grids["R2"][rows, columns],
                    "R2, second to first": grids["R2"][columns, rows],
                },
                "removed": removed,
            },
            plots={
                name: Plot(
                    "similarity",
                    "similarity",
                    title,
                    {"value": name, "phases": ",".join(names), "label": name},
                )
                for name, title in (
                    ("CKA, unbiased", "Linear CKA (unbiased) between representations"),
                    ("RSA", "Likeness of the distances between inputs"),
                    ("R2", "How much of the column a row predicts linearly"),
                )
            },
            interventions=edits,
            evidence=(*observed, *evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """One pass, and what is removed from a batch of inputs."""
        return len(data) + min(self.batch, len(data)) * (3 + self.controls)

    def _sources(self, model: Model, data: Any) -> list[Source]:
        sources = sources_of(model, self.at, "", self.dictionaries)
        if self.other is not None:
            at = self.at if self.other_at is None else self.other_at
            sources += sources_of(load(self.other), at, f"{self.other}: ")
        if len(sources) < 2:
            raise SteerlabError(
                f"Similarity compares two representations or more, not {listing([s.name for s in sources])}"
            )
        some = first_rows(data, self.batch)
        return [with_atoms(source, some, self.tokens, self.atoms) for source in sources]

    def _grids(self, found: Gathered) -> dict[str, torch.Tensor]:
        """Every measure of every pair, ``[representation, representation]``."""
        whole, count = found.whole, len(found.sample)

        def grid(of: Any) -> torch.Tensor:
            return torch.tensor([[of(i, j) for j in range(count)] for i in range(count)])

        return {
            "CKA": grid(lambda i, j: linear_cka(whole, i, j)),
            "CKA, unbiased": grid(lambda i, j: unbiased_cka(whole, i, j)),
            "RSA": grid(lambda i, j: rsa(found.sample[i], found.sample[j])),
            "R2": grid(lambda i, j: self._r2(found.fitted, found.held, i, j)),
        }

    def _r2(self, fitted: Moments, held: Moments, i: int, j: int) -> float:
        return regression_r2(fitted, held, source=i, target=j, ridge=self.ridge)

    def _pair(self, sources: Sequence[Source], cka: torch.Tensor) -> tuple[int, int]:
        """The two whose shared part is removed; the first of them is a site of the model that was asked."""
        names = [source.name for source in sources]
        if self.pair is not None:
            for name in self.pair:
                if name not in names:
                    raise SteerlabError(
                        f"Similarity: pair names {name!r}{nearest(name, names)} (known: {listing(names)})"
                    )
            first, second = (names.index(name) for name in self.pair)
            if sources[first].dictionary is not None or sources[first].model is not sources[0].model:
                raise SteerlabError(f"Similarity: {names[first]} is no site of the model; name one first")
            return first, second
        own = [i for i, one in enumerate(sources) if one.dictionary is None and one.model is sources[0].model]
        others = [i for i, one in enumerate(sources) if one.model is not sources[0].model]
        if others:
            best = int(cka[own][:, others].argmax())
            return own[best // len(others)], others[best % len(others)]
        return own[0], own[-1] if len(own) > 1 else len(sources) - 1

    def _null(self, found: Gathered, first: int, second: int, seed: int) -> tuple[float, float, float]:
        """The measures of a pair whose rows are in random order."""
        x, y = found.sample[first], found.sample[second]
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
        half = len(x) // 2
        fitted, held = Moments.of([x[:half], y[:half]]), Moments.of([x[half:], y[half:]])
        return unbiased_cka(fitted.merge(held), 0, 1), rsa(x, y), self._r2(fitted, held, 0, 1)

    def _shared(
        self, model: Model, data: Any, sources: Sequence[Source], found: Gathered, pair: tuple[int, int]
    ) -> tuple[dict[str, Any], dict[str, Any], list[Evidence]]:
        """Interventions on the shared directions, the table of their effects, and the evidence."""
        first, second = pair
        whole, site = found.whole, str(sources[first].site)
        mean = found.mean(first).float()
        rank = min(self.rank, len(mean), whole.widths[second])
        shared = shared_directions(whole, first, second, rank=rank)
        subspace = Subspace(shared.first.float(), mean)
        loud = torch.linalg.eigh(whole.covariance(first, first)).eigenvectors[:, -rank:].T
        generator = torch.Generator().manual_seed(0)
        others = [torch.randn(rank, len(mean), generator=generator) for _ in range(self.controls)]
        bases = {"shared": subspace, "of most variance": Subspace(loud.float(), mean)}
        bases |= {f"random {i}": Subspace(one, mean) for i, one in enumerate(others)}
        some = first_rows(data, self.batch)
        effects = model.sweep(some, [{site: Remove(one)} for one in bases.values()], progress=False).mean(1)
        other = sources[second]
        about = f"{rank} directions of {site} that {other.name} shares"
        edits = {
            "without what is shared": made_on(model, {site: Remove(subspace)}, f"without {about}"),
            "only what is shared": made_on(model, {site: Project(subspace)}, f"only {about}"),
        }
        if other.dictionary is None and other.model is model:
            there = Subspace(shared.second.float(), found.mean(second).float())
            edits["without it at the other site"] = made_on(
                model, {str(other.site): Remove(there)}, f"the same directions as {other.site} has them"
            )
        table = {
            "directions": list(bases),
            "effect": effects.float().cpu(),
            "variance": torch.tensor([_variance(whole, first, one) for one in bases.values()]),
        }
        claim = f"removing {about} (controls: as many random directions)"
        evidence = [
            Evidence(claim, "intervened", float(effects[0]), tuple(effects[2:].tolist()), unit="change"),
            Evidence(
                f"the largest canonical correlation of {sources[first].name} and {other.name}",
                "observed",
                float(shared.correlations[0]),
            ),
        ]
        return edits, table, evidence


def _variance(moments: Moments, part: int, basis: Subspace) -> float:
    """Share of a representation's variance that lies in a subspace."""
    covariance, q = moments.covariance(part, part), basis.atoms.double()
    return float((q @ covariance @ q.T).trace() / covariance.trace())
