"""Phases of depth: the best cuts by each criterion, beside equal ones and what chance and drift give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.raptor.observing import Observed
from steerlab.numerics.affine import shared_errors
from steerlab.numerics.segmentation import best_segments, equal_cuts, margin, segment_costs, smooth_drift
from steerlab.report import Table

CRITERIA = ("sum", "mean", "functional")


@dataclass(frozen=True, eq=False)
class Cuts:
    """What the segmentation says.

    Attributes
    ----------
    table : Table
        A row for each number of phases and criterion.
    chosen : tuple of int
        The cuts of the chosen criterion and number.
    margin : float
        How much cheaper they are than equal cuts, as a part of the cost of not cutting.
    null_margins : tuple of float
        The same of states with shuffled increments.
    null_cuts : list of tuple
        Their cuts.
    """

    table: Table
    chosen: tuple[int, ...]
    margin: float
    null_margins: tuple[float, ...]
    null_cuts: list[tuple[int, ...]]


def cut(seen: Observed, counts: Sequence[int], *, criterion: str, count: int) -> Cuts:
    """Cut for each number of phases and criterion; the functional one has no null of shuffled increments."""
    tables = {name: segment_costs(seen.dissimilarity, objective=name) for name in CRITERIA[:2]}
    tables["functional"] = shared_errors(seen.steps)
    names = ("phases", "criterion", "cuts", "equal cuts", "margin", "null margin", "nulls with as much")
    rows: dict[str, list] = {name: [] for name in (*names, "drift cuts")}
    for phases in counts:
        for name, costs in tables.items():
            nulls = _nulls(seen, name)
            own = margin(costs, phases)
            others = [margin(one, phases) for one in nulls]
            drift = segment_costs(smooth_drift(seen.dissimilarity), objective=name) if nulls else None
            rows["phases"].append(phases)
            rows["criterion"].append(name)
            rows["cuts"].append(said(best_segments(costs, phases).cuts))
            rows["equal cuts"].append(said(equal_cuts(len(costs) - 1, phases)))
            rows["margin"].append(own)
            rows["null margin"].append(sum(others) / len(others) if others else float("nan"))
            rows["nulls with as much"].append(
                sum(one >= own for one in others) / len(others) if others else float("nan")
            )
            rows["drift cuts"].append(said(best_segments(drift, phases).cuts) if nulls else "")
    numbers = ("margin", "null margin", "nulls with as much")
    table = {n: torch.tensor(v) if n == "phases" or n in numbers else v for n, v in rows.items()}
    nulls = _nulls(seen, criterion)
    return Cuts(
        table,
        best_segments(tables[criterion], count).cuts,
        margin(tables[criterion], count),
        tuple(margin(one, count) for one in nulls),
        [best_segments(one, count).cuts for one in nulls],
    )


def said(cuts: Sequence[int]) -> str:
    """Cuts as a text."""
    return " ".join(map(str, cuts))


def _nulls(seen: Observed, criterion: str) -> list[torch.Tensor]:
    return (
        [] if criterion == "functional" else [segment_costs(one, objective=criterion) for one in seen.nulls]
    )
