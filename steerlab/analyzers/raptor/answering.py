"""The report on phases: tables, figures drawn from them, findings beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.raptor.cutting import Cuts, said
from steerlab.analyzers.raptor.observing import MEASURES, Observed
from steerlab.analyzers.raptor.replacing import matched
from steerlab.intervention import Intervention
from steerlab.report import Evidence, Plot, Report, Table
from steerlab.rewiring import Rewired
from steerlab.surrogates import Surrogate


@dataclass(frozen=True, eq=False)
class Answer:
    """What the parts of the question gave.

    Parameters
    ----------
    seen : Observed
        Of the pass over all inputs.
    cuts : Cuts
        The segmentation.
    segments : sequence of range
        The phases.
    tables : mapping
        Tables that are ready.
    interventions : mapping
        By name.
    effects, receipts : sequence
        Of the interventions.
    surrogate : tuple, optional
        The trained surrogate, its table and its findings.
    """

    seen: Observed
    cuts: Cuts
    segments: Sequence[range]
    tables: Mapping[str, Table]
    interventions: Mapping[str, Intervention | Rewired]
    effects: Sequence[Evidence]
    receipts: Sequence[str]
    surrogate: tuple[Surrogate, Table, list[Evidence]] | None = None


def answered(answer: Answer) -> Report:
    """The report."""
    phase = torch.tensor([i for i, segment in enumerate(answer.segments) for _ in segment])
    tables: dict[str, Table] = {
        "layers": {
            "layer": torch.arange(1, len(phase) + 1),
            "phase": phase,
            "similarity": (1 - answer.seen.dissimilarity).float(),
        },
        "cuts": answer.cuts.table,
        "dynamics": _dynamics(answer.seen),
        "trajectories": _trajectories(answer.seen),
        **answer.tables,
    }
    interventions = dict(answer.interventions)
    evidence = [*_findings(answer), *answer.effects]
    plots = _plots(answer)
    if answer.surrogate is not None:
        made, table, found = answer.surrogate
        tables |= {"closed loop": table, "closed loop by layer": _by_layer(table)}
        interventions["surrogate"] = made
        evidence += found
        ways = [name for name in tables["closed loop by layer"] if name != "layer"]
        plots["closed loop"] = _lines(
            "closed loop by layer", "Cosine with the model in the closed loop", ways, "cosine"
        )
    return Report(
        title=f"{len(answer.segments)} phases of {len(phase)} blocks, cut at {said(answer.cuts.chosen)}",
        about="How alike layers are, where depth is best cut, beside shuffled increments and equal cuts; "
        "what blocks do in one another's place; and how states move on the sphere.",
        tables=tables,
        plots=plots,
        interventions=interventions,
        evidence=tuple(evidence),
        receipts=tuple(answer.receipts),
    )


def _dynamics(seen: Observed) -> Table:
    """A row a state, a column a measure and group of tokens; what is not defined there is nan."""
    states = len(next(iter(seen.measures.values()))["norm"])
    columns = {
        f"{measure} of {group}": values[measure].float()
        for group, values in seen.measures.items()
        for measure in MEASURES
    }
    return {"state": torch.arange(states), **columns}


def _trajectories(seen: Observed) -> Table:
    """Mean directions in three principal ones: a path for each group of tokens."""
    parts = [name for name, places in seen.middles.items() for _ in places]
    places = torch.cat(list(seen.middles.values())).float()
    return {"x": places[:, 0], "y": places[:, 1], "z": places[:, 2], "part": parts}


def _by_layer(table: Table) -> Table:
    """The mean over groups of tokens, a column a way to cut."""
    ways = list(dict.fromkeys(zip(table["cuts"], table["at"], strict=True)))
    layers = table["layer"].unique()
    named = [f"{name}: {at or 'none'}" for name, at in ways]

    def mean(column: str, way: tuple[str, str], layer: int) -> float:
        rows = [
            float(value)
            for value, name, at, number in zip(
                table[column], table["cuts"], table["at"], table["layer"], strict=True
            )
            if (name, at) == way and int(number) == layer
        ]
        return sum(rows) / len(rows)

    columns = {
        label: torch.tensor([mean("cosine", way, int(layer)) for layer in layers])
        for label, way in zip(named, ways, strict=True)
    }
    still = torch.tensor([mean("standing still", ways[0], int(layer)) for layer in layers])
    return {"layer": layers, **columns, "standing still": still}


def _findings(answer: Answer) -> list[Evidence]:
    near = matched(answer.tables["replacements"])
    cuts, ratios = answer.cuts, answer.tables["contraction"]
    lost = 1 - float(ratios["rho"].mean())
    paired = 1 - float(ratios["control rho"].mean())
    return [
        Evidence(
            "a block in the place of a neighbour of another phase (control: of its own phase, equally near)",
            "intervened",
            near["across"],
            (near["inside"],),
            0.0,
            "1 - cosine of the output",
        ),
        Evidence(
            f"cuts at {said(cuts.chosen)} are cheaper than equal ones (controls: shuffled increments)",
            "observed",
            cuts.margin,
            cuts.null_margins,
            0.0,
            "of the cost without cuts",
        ),
        Evidence(
            "part of a small turn that is gone at the last layer (control: with updates of other inputs)",
            "intervened",
            lost,
            (paired,),
            0.0,
            "1 - rho",
        ),
    ]


def _lines(table: str, title: str, names: Sequence[str], label: str) -> Plot:
    x = "layer" if table == "closed loop by layer" else "state"
    options = {"x": x, "y": ", ".join(names), "y label": label, "x label": "layer", "x ticks": "whole"}
    return Plot("lines", table, title, options)


def _plots(answer: Answer) -> dict[str, Plot]:
    groups = list(answer.seen.measures)
    titles = {
        "convergence": ("Cosine with the last state", "cosine"),
        "speed": ("Turn of each step", "angle (rad)"),
        "update rank": ("Stable rank of updates", "stable rank"),
        "update coherence": ("Coherence of updates over tokens", "mean resultant length"),
    }
    spans = ", ".join(f"blocks {s.start} to {s.stop - 1}" for s in answer.segments)
    plots = {
        "similarity": Plot(
            "similarity",
            "layers",
            "Similarity of layers, and phases",
            {"value": "similarity", "phases": spans, "label": "mean cosine"},
        ),
        "trajectories": Plot(
            "manifold",
            "trajectories",
            "Mean directions through depth",
            {f"{side} label": f"direction {i + 1}" for i, side in enumerate("xyz")},
        ),
    }
    for measure, (title, label) in titles.items():
        chosen = [g for g in groups if g != "cls" or not measure.startswith("update")] or groups
        plots[measure] = _lines("dynamics", title, [f"{measure} of {group}" for group in chosen], label)
    return plots
