"""Phases: whether depth falls into phases that repeat one computation, and how states move in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.raptor.acting import edits_of, tried, wirings_of
from steerlab.analyzers.raptor.answering import Answer, answered
from steerlab.analyzers.raptor.cutting import CRITERIA, cut
from steerlab.analyzers.raptor.distilling import distilled
from steerlab.analyzers.raptor.observing import observe
from steerlab.analyzers.raptor.perturbing import perturbed, ratios
from steerlab.analyzers.raptor.reading import TOKENS, parts_of
from steerlab.analyzers.raptor.replacing import Probe, replaced
from steerlab.analyzers.raptor.stepping import stepped
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.model import Model
from steerlab.report import Report
from steerlab.surrogates import Distilling
from steerlab.surrogates.surrogate import segments_of
from steerlab.surrogates.teacher import paths, span_of


@dataclass(frozen=True)
class Phases(Analyzer):
    """Block-recurrent dynamics after arXiv 2512.19941, on any stack of blocks.

    Layers are compared and depth is cut into phases, beside the same cuts of states with shuffled increments
    and of mere drift. Blocks are put in the place of others inside and across phases. Trajectories are
    followed on the sphere, perturbed, and stepped with one linear map a phase. Interventions come of it, and
    on request shared blocks are trained to stand in for the phases.

    Parameters
    ----------
    at : str
        The blocks, as in a site: ``"blocks"``, ``"vision.blocks"``.
    tokens : str
        What stands for an input when layers are compared: ``"cls+meanpatch"`` (the authors'), ``"all"``, or
        ``"last"`` for causal models.
    phases : int
        How many phases the tests and interventions take; the table of cuts has 2 to 4.
    criterion : str
        ``"sum"`` (the authors' cut), ``"mean"`` (not biased to equal lengths) or ``"functional"`` (one shared
        affine map a phase); the last two are our own definitions.
    nulls : int
        Shuffles of the increments.
    batch : int
        Inputs read together. Texts are read one by one.
    draws : int
        Random replacements of each number of blocks, inside and across phases.
    probed : int
        Inputs on which interventions are tried.
    sizes : list of float
        Lengths of perturbations, in units of the state's.
    rank : int
        Of the low-rank updates.
    controls : int
        Random changes beside each intervention.
    seed : int
        Of every draw.
    surrogate : Distilling, optional
        How to train shared blocks; none are by default.
    """

    at: str = "blocks"
    tokens: str = "cls+meanpatch"
    phases: int = 2
    criterion: str = "sum"
    nulls: int = 20
    batch: int = 16
    draws: int = 6
    probed: int = 8
    sizes: Sequence[float] = (0.01, 0.05, 0.1, 0.3)
    rank: int = 4
    controls: int = 3
    seed: int = 0
    surrogate: Distilling | None = None

    def __post_init__(self) -> None:
        check_whole(self, "phases", "probed", least=2)
        check_whole(self, "nulls", "batch", "draws", "rank", "controls")
        check_whole(self, "seed", least=0)
        for name, known in (("tokens", TOKENS), ("criterion", CRITERIA)):
            value = getattr(self, name)
            if value not in known:
                raise SteerlabError(
                    f"Phases: {name}={value!r}{nearest(str(value), known)} (known: {listing(known)})"
                )
        sizes = self.sizes if isinstance(self.sizes, (list, tuple)) else []
        if not sizes or not all(is_number(size) and size > 0 for size in sizes):
            raise SteerlabError(f"Phases: sizes={self.sizes!r}; give a list of lengths above 0")
        if self.surrogate is not None and not isinstance(self.surrogate, Distilling):
            raise SteerlabError(f"Phases: surrogate={self.surrogate!r} is no Distilling(...)")

    def __call__(self, model: Model, data: Any) -> Report:
        """Read, cut, replace, perturb, step, act; train where it is asked for."""
        start, stop = span_of(model, self.at, None)
        if stop - start < 2 * self.phases:
            raise SteerlabError(f"Phases: {stop} blocks are too few for {self.phases} phases")
        read, parts = paths(model, self.at, (start, stop)), parts_of(data, self.batch)
        seen = observe(parts, read, tokens=self.tokens, nulls=self.nulls, seed=self.seed)
        counts = sorted({2, 3, min(4, stop), self.phases})
        cuts = cut(seen, counts, criterion=self.criterion, count=self.phases)
        segments = segments_of((start, stop), cuts.chosen)
        probe = Probe(model, _first(data, self.probed), self.at)
        exchanged = replaced(probe, cuts.chosen, draws=self.draws, seed=self.seed)
        blocks = sorted({stop // 4, stop // 2, (3 * stop) // 4})
        turned = perturbed(probe, self.sizes, blocks=blocks, seed=self.seed)
        steps = stepped(probe, parts, read, segments=segments)
        groups = read(_first(data, 1)).groups
        edits = edits_of(model, self.at, segments[-1], groups=groups, rank=self.rank)
        wirings = wirings_of(model, self.at, segments, exchanged)
        effects, receipts = tried(probe, edits, wirings, controls=self.controls)
        standing = None
        if self.surrogate is not None:
            standing = self._distilled(probe, data, cuts, read)
        return answered(
            Answer(
                seen=seen,
                cuts=cuts,
                segments=segments,
                tables={
                    "replacements": exchanged,
                    "perturbations": turned,
                    "contraction": ratios(turned),
                    "linear steps": steps,
                },
                interventions={**edits, **wirings},
                effects=effects,
                receipts=receipts,
                surrogate=standing,
            )
        )

    def passes(self, model: Model, data: Any) -> float | None:
        """Two readings and a half, and the probes."""
        blocks = len(model.sites(f"{self.at}.*.resid"))
        neighbours = 4 * blocks - 6
        tries = neighbours + 6 * self.draws + 9 * len(self.sizes) + 3 * self.phases + 6 * (3 + self.controls)
        trained = 0
        if self.surrogate is not None:
            trained = 3 * 3 * self.surrogate.batch * (self.surrogate.steps + self.surrogate.steps_together)
        return 2 * len(data) * 1.5 + self.probed * tries + trained

    def _distilled(self, probe: Probe, data: Any, cuts: Any, read: Any) -> Any:
        if not isinstance(data, (torch.Tensor, list, tuple)):
            raise SteerlabError("Phases: a surrogate is trained on a list of inputs or a tensor of pictures")
        kept = -(-2 * len(data) // 3)
        if kept == len(data):
            raise SteerlabError("Phases: a surrogate needs three inputs or more, the last third to judge it")
        return distilled(
            probe,
            data[:kept],
            cuts,
            settings=self.surrogate,
            paths=lambda: [read(part) for part in parts_of(data[kept:], self.batch)],
        )


def _first(data: Any, count: int) -> Any:
    """The first inputs, as they were given; of texts one alone, so that none is padded."""
    if isinstance(data, dict):
        return {k: v[:count] if isinstance(v, torch.Tensor) else v for k, v in data.items()}
    return data[:1] if isinstance(data[0], str) else data[:count]
