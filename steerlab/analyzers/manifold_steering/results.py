"""The report on manifold steering: findings beside their controls, and interventions to every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from steerlab.analyzers.manifold_steering.fitting import Seen
from steerlab.analyzers.manifold_steering.prompts import Concept
from steerlab.analyzers.manifold_steering.pulling import Pullback
from steerlab.analyzers.manifold_steering.steering import Own
from steerlab.analyzers.manifold_steering.study import Pair
from steerlab.analyzers.manifold_steering.tables import (
    Walks,
    curve_table,
    gap_table,
    mean_table,
    mode_table,
    own_table,
    pair_table,
    pull_table,
    ribbon_table,
    success_table,
    test_table,
)
from steerlab.bases import Manifold
from steerlab.edits import Move, Replace
from steerlab.intervention import Intervention
from steerlab.model import Model
from steerlab.numerics.behaviour import Behaviour
from steerlab.numerics.isometry import Isometry
from steerlab.report import Evidence, Plot, Report, Table
from steerlab.store import made_on

UNIT = "nats, summed over waypoints"


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured.

    Parameters
    ----------
    concept : Concept
        The values.
    curves : tuple of Manifold and Behaviour
        Of activations and of behaviour.
    walks : mapping
        Every pair in every mode, and ``"random"``.
    aims : mapping
        For each steered place and mode, as `study.aimed` gives it.
    own : Own
        What a prompt's own code costs.
    isometry : Isometry
        Of both curves.
    accuracy : mapping
        A table, a row a template and offset.
    seen : Seen
        The prompts that were fitted.
    base : tuple of str
        The prompts that were steered.
    shown : tuple of int
        The pair that is drawn.
    ordered : bool
        Whether both curves go through the values in their order.
    pulled : mapping
        Pairs that were pulled back.
    """

    concept: Concept
    curves: tuple[Manifold, Behaviour]
    walks: Walks
    aims: Mapping[str, Mapping[str, torch.Tensor]]
    own: Own
    isometry: Isometry
    accuracy: Table
    seen: Seen
    base: tuple[str, ...]
    shown: Pair
    ordered: bool
    pulled: Mapping[Pair, Pullback] = field(default_factory=dict)

    @property
    def modes(self) -> list[str]:
        """The modes, and ``"random"`` last."""
        return list(dict.fromkeys(mode for _, mode in self.walks))

    def report(self, model: Model, site: str) -> Report:
        """Tables, figures, evidence and interventions."""
        tables = self.tables()
        right = float(self.seen.right.double().mean())
        pairs = len({pair for pair, _ in self.walks})
        order = "in their order" if self.ordered else "NOT in their order, so energies say little"
        return Report(
            title=f"{len(self.concept.values)} values steered along their curve at {site}",
            about=f"{len(self.seen.prompts)} prompts, of which {right:.0%} are answered rightly; "
            f"{pairs} pairs of values, {len(self.base)} base prompts, the last token replaced. "
            f"Both curves run through the values {order}.",
            tables=tables,
            plots=self.plots(tables),
            interventions=self.interventions(model, site),
            evidence=self.evidence(tables),
        )

    def tables(self) -> dict[str, Table]:
        """All tables by name."""
        names, modes = self.concept.values, self.modes
        more = {"pullback": pull_table(self.pulled, self.concept)} if self.pulled else {}
        return more | {
            "accuracy": self.accuracy,
            "pairs": pair_table(self.walks, self.concept, modes),
            "modes": mean_table(self.walks, modes),
            "energies": mode_table(self.walks, modes),
            "gaps": gap_table(self.walks, self.concept, modes),
            "tests": test_table(self.walks, modes),
            "success": success_table(self.aims),
            "own code": own_table(self.own, self.base),
            "isometry": {
                "along the curve": self.isometry.first,
                "straight": self.isometry.straight,
                "along the behaviour": self.isometry.second,
            },
            "way": ribbon_table(self.walks, self.shown, names, modes),
            "curves": curve_table(self.curves, self.walks, self.shown, [m for m in modes if m != "random"]),
        }

    def plots(self, tables: Mapping[str, Table]) -> dict[str, Plot]:
        """Figures of the tables."""
        first, last = (self.concept.values[i] for i in self.shown)
        tests = tables["tests"]
        against = "; ".join(
            f"{a}/{b}={float(p):.3g}"
            for a, b, p in zip(tests["mode"], tests["against"], tests["p"], strict=True)
            if a == "manifold" and float(p) == float(p)
        )
        steps = {"x": "gap", "x label": "steps between the values", "x ticks": "whole"}
        shares = [name for name in tables["success"] if name != "gap" and not name.startswith("prompts")]
        return {
            "curves": Plot(
                "manifold",
                "curves",
                f"The values' curve, and ways from {first} to {last}",
                {"panel": "panel", "names": "name"},
            ),
            "way": Plot(
                "ribbons",
                "way",
                f"What is said on the way from {first} to {last}",
                {
                    "x": "fraction",
                    "x label": "fraction of the way",
                    "y": ",".join((*self.concept.values, "other")),
                    "other": "other",
                    "panel": "mode",
                },
            ),
            "energy": Plot(
                "compared",
                "energies",
                "How far from natural answers each way leads",
                {"y": "energy", "groups": "mode", "units": "pair", "tests": against},
            ),
            "gaps": Plot(
                "lines",
                "gaps",
                "Energy by the gap between the values",
                steps | {"y": ",".join(self.modes), "y label": f"energy ({UNIT})"},
            ),
            "success": Plot(
                "lines",
                "success",
                "Prompts whose answer becomes the one aimed at",
                steps
                | {
                    "y": ",".join(shares),
                    "y label": "share of prompts",
                    "x label": "steps from its own answer",
                },
            ),
            "isometry": Plot(
                "scatter",
                "isometry",
                f"Distances in both: r = {self.isometry.along:.3f}, {self.isometry.chord:.3f} straight",
                {
                    "x": "along the curve",
                    "x label": "along the curve of activations",
                    "y": "along the behaviour",
                    "y label": "along the curve of behaviour",
                },
            ),
        }

    def evidence(self, tables: Mapping[str, Table]) -> tuple[Evidence, ...]:
        """Success beside random changes, energy beside straight lines, isometry, and what own codes cost."""
        found = [self._success(place, modes) for place, modes in self.aims.items()]
        means = tables["modes"]
        energy = dict(zip(means["mode"], means["energy"].tolist(), strict=True))
        spread = dict(zip(means["mode"], means["error over prompts"].tolist(), strict=True))
        for mode in self.modes:
            if mode != "manifold":
                row = self._test(tables["tests"], mode)
                found.append(
                    Evidence(
                        f"energy of {mode} ways above those along the manifold, {energy['manifold']:.4g} "
                        f"(paired t = {row[0]:.3g}, p = {row[1]:.2g}; floor: error over base prompts)",
                        "intervened",
                        energy[mode] - energy["manifold"],
                        floor=spread[mode],
                        unit=UNIT,
                    )
                )
        count = len(next(iter(self.walks.values())).behaviour)
        natural = self.curves[1].nearest(self.seen.behaviour.double())[1]
        found.append(
            Evidence(
                "energy along the manifold (floor: that of as many answers of all prompts as they are)",
                "intervened",
                energy["manifold"],
                floor=count * float(natural.mean()),
                unit=UNIT,
            )
        )
        found.append(
            Evidence(
                "correlation of distances along both curves (control: straight distances)",
                "observed",
                self.isometry.along,
                (self.isometry.chord,),
            )
        )
        found.append(
            Evidence(
                "a prompt's own place on the curve changes its answers, which lies "
                f"{float(self.own.distance.mean()):.2f} gaps off the activation (floor: its own code)",
                "intervened",
                float(self.own.curve.mean()),
                floor=float(self.own.code.mean()),
                unit="nats of Bhattacharyya distance",
            )
        )
        for (a, b), one in self.pulled.items():
            ends = f"{self.concept.values[a]} to {self.concept.values[b]}"
            claim = f"R2 with the curve of the way pulled back, {ends} (control: chord)"
            found.append(Evidence(claim, "intervened", one.agreement, (one.chord,)))
        return tuple(found)

    def interventions(self, model: Model, site: str) -> dict[str, Intervention]:
        """Every value as the answer, and every answer one value further on."""
        manifold = self.curves[0]
        found = {
            f"say {name}": made_on(
                model,
                {site: Replace(manifold.point(i), manifold.subspace).on(tokens=-1)},
                f"the last token of the prompt at {name} on the curve of its values",
            )
            for i, name in enumerate(self.concept.values)
        }
        step = Move(manifold, manifold.shift(0, 1)).on(tokens=-1)
        found["one step on"] = made_on(
            model, {site: step}, "the last token one value further along the curve"
        )
        return found

    def _success(self, place: str, modes: Mapping[str, torch.Tensor]) -> Evidence:
        away = {mode: rows[rows[:, 0] > 0, 1] for mode, rows in modes.items()}
        share = {mode: float(hits.mean()) if len(hits) else 0.0 for mode, hits in away.items()}
        return Evidence(
            f"answers become the value aimed at, {place}, along the manifold "
            "(control: a change as long in as many random dimensions)",
            "intervened",
            share["manifold"],
            (share["random"],),
            unit=f"of {len(away['manifold'])} prompts and values",
        )

    @staticmethod
    def _test(tests: Table, mode: str) -> tuple[float, float]:
        pairs = zip(tests["mode"], tests["against"], tests["t"].tolist(), tests["p"].tolist(), strict=True)
        return next((t, p) for first, second, t, p in pairs if (first, second) == ("manifold", mode))
