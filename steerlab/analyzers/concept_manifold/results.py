"""What ConceptManifold says and draws of its tables."""

from __future__ import annotations

import math

from steerlab.analyzers.concept_manifold.facts import Held
from steerlab.report import Evidence, Plot, Table


def seen(found: Held, of: str) -> list[Evidence]:
    """How many atoms span and codes need, and the verdict."""
    verdict, share = found.verdict, found.share
    spans = found.span.needed(share)
    chance = tuple(
        float(len(one.explained) if (n := one.needed(share)) is None else n) for one in found.random
    )
    told = [verdict.label]  # neither spread nor couplings are known of atoms that hardly fire
    told += [] if math.isnan(verdict.spread) else [f"spread {verdict.spread:.2f}"]
    told += [] if math.isnan(verdict.positive) else [f"{verdict.positive:.0%} of their couplings positive"]
    unit = f"atoms for {share:.0%} of the variance of {of}"
    return [
        Evidence(
            "atoms needed by span (controls: random dictionaries)",
            "observed",
            float(spans or 0),
            chance,
            unit=unit,
        ),
        Evidence(
            f"atoms needed by codes: {', '.join(told)}",
            "observed",
            float(len(found.carriers)),
            unit=unit,
        ),
    ]


def plots_of(tables: dict[str, Table], found: Held, metric: str) -> dict[str, Plot]:
    """Curves, tuning and, where acted, effects in this metric."""
    values = tables["tuning"]["value"]
    drawn = [name for name in tables["tuning"] if name.startswith("atom ")]
    plots = {
        "capture": Plot(
            "lines",
            "capture",
            "Explained variance by the number of atoms",
            {
                "x": "atoms",
                "y": "by span,by codes,codes refitted,principal components",
                "x label": "atoms",
                "y label": "explained variance",
                "y reference": f"{found.share:.4g}",
                "y reference label": "counted here",
                "x ticks": "whole",
            },
        ),
        "tuning": Plot(
            "lines",
            "tuning",
            f"Tuning of the {len(drawn)} atoms that explain most",
            {
                "x": "number",
                "y": ",".join(drawn),
                "x label": f"value ({values[0]} to {values[-1]})",
                "y label": "mean code",
                "x ticks": "whole",
            },
        ),
    }
    if "acts" in tables:
        plots["acts"] = Plot(
            "bars",
            "acts",
            "Effect of removing the atoms on the output",
            {"names": "act", "y": "effect", "label": metric, "names label": "the atoms"},
        )
    return plots
