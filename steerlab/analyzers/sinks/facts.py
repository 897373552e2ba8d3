"""What was recorded of sinks, and the rules that turn it into events and classes without a rerun."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from steerlab.analyzers.settings import is_number
from steerlab.analyzers.sinks.watching import FIELDS, PLACES
from steerlab.errors import SteerlabError
from steerlab.numerics.sink_classes import CLASSES, sink_classes
from steerlab.numerics.sinks import EPSILONS, literal, operational
from steerlab.report import Table

SPACES = {"projected": "ratio_out", "head": "ratio_head"}


@dataclass(frozen=True)
class SinkRules:
    """When a head sinks on an input, and what kind of sink it is; see arXiv 2606.08105.

    Parameters
    ----------
    eps : float
        A query is routed where its attention to the sink is at least ``1 - eps``; at most 0.5.
    share : float
        Share of the queries that must be routed.
    query_subset : float, optional
        In place of `share`: the least share of routed queries, for heads that sink for some queries alone.
        Our own mode.
    norm_space : str
        ``"projected"``: values as the stream gets them; ``"head"``: as the head has them.
    no_op, broadcast : float
        A value norm over that of the other tokens up to which a sink is a no-op, and from which a broadcast.
    rank : float
        Largest stable rank of a broadcast's update; ``inf`` for the laxer rule without it.
    """

    eps: float = 0.5
    share: float = 0.9
    query_subset: float | None = None
    norm_space: str = "projected"
    no_op: float = 0.2
    broadcast: float = 0.5
    rank: float = 1.5

    def __post_init__(self) -> None:
        if not (is_number(self.eps) and 0 <= self.eps <= 0.5):
            raise SteerlabError(
                f"eps={self.eps!r}: give 0 to 0.5; above it two columns could both pass, and one is looked at"
            )
        for name in ("share", "query_subset"):
            value = getattr(self, name)
            if not (name == "query_subset" and value is None) and not (is_number(value) and 0 < value <= 1):
                raise SteerlabError(f"{name}={value!r} is not a share above 0, up to 1")
        if self.norm_space not in SPACES:
            raise SteerlabError(f"norm_space={self.norm_space!r}; it is 'projected' or 'head'")
        if not (is_number(self.no_op) and is_number(self.broadcast) and 0 <= self.no_op < self.broadcast):
            raise SteerlabError(
                f"no_op={self.no_op!r}, broadcast={self.broadcast!r}: from 0 on, the first below the second"
            )
        if not (is_number(self.rank) or self.rank == math.inf) or self.rank < 1:
            raise SteerlabError(f"rank={self.rank!r} is not a stable rank of 1 or more")


@dataclass(frozen=True, eq=False)
class SinkFacts:
    """Numbers of every input, block and head, ``[input, block, head]`` each.

    Attributes
    ----------
    values : mapping
        ``"mass"``, ``"routed 0.5"``, ``"ratio_out"`` and so on in float32; ``"sink_idx"`` and ``"sink_type"``
        (a place in `steerlab.analyzers.sinks.parts.TYPES`) in int32, -1 where there is no candidate.
    blocks : tuple of str
        Where the blocks are: ``"blocks.3"``.
    """

    values: Mapping[str, torch.Tensor]
    blocks: tuple[str, ...]

    @staticmethod
    def of(recorded: torch.Tensor, names: tuple[str, ...], blocks: tuple[str, ...]) -> SinkFacts:
        """From what was watched, ``[field, input, block, head]``."""
        columns = dict(zip(names, recorded, strict=True))
        return SinkFacts(
            {name: one.int() if name in PLACES else one for name, one in columns.items()}, blocks
        )

    @staticmethod
    def read(table: Table, blocks: tuple[str, ...]) -> SinkFacts:
        """From the table ``"events"`` of a report, which holds every input, block and head."""
        counts = [int(table[axis].max()) + 1 for axis in ("input", "row", "head")]
        names = [name for name in table if name in FIELDS or name.startswith("routed")]
        return SinkFacts({name: table[name].view(counts) for name in names}, blocks)

    @property
    def shape(self) -> torch.Size:
        """Inputs, blocks, heads."""
        return self.values["mass"].shape

    def events(self, rules: SinkRules, eps: float | None = None) -> torch.Tensor:
        """Sink events by the operational rule, boolean ``[input, block, head]``."""
        eps = rules.eps if eps is None else eps
        name = f"routed {eps:g}"
        if name not in self.values:
            known = [float(one.split()[1]) for one in self.values if one.startswith("routed")]
            raise SteerlabError(f"eps={eps:g} was not recorded (recorded: {known})")
        return operational(
            self.values[name], rules.share if rules.query_subset is None else rules.query_subset
        )

    def classes(self, rules: SinkRules, events: torch.Tensor | None = None) -> torch.Tensor:
        """Places in `CLASSES`, ``[input, block, head]``."""
        return sink_classes(
            self.events(rules) if events is None else events,
            self.values[SPACES[rules.norm_space]],
            self.values["stable_rank"],
            no_op=rules.no_op,
            broadcast=rules.broadcast,
            rank=rules.rank,
        )

    def sensitivity(self, rules: SinkRules) -> Table:
        """Events of each class an input at several eps, by both rules; one number alone says little."""
        rows = []
        for eps in EPSILONS:
            ways = {
                "operational": self.events(rules, eps),
                "literal": literal(self.values["least"], eps),
            }
            for rule, events in ways.items():
                found = self.classes(rules, events)
                counts = [float((found == i).sum()) / self.shape[0] for i in range(1, len(CLASSES))]
                rows.append((rule, eps, float(events.sum()) / self.shape[0], *counts))
        rule, *numbers = zip(*rows, strict=True)
        names = ("eps", "events", *CLASSES[1:])
        return {"rule": list(rule)} | {
            name: torch.tensor(column, dtype=torch.float64)
            for name, column in zip(names, numbers, strict=True)
        }
