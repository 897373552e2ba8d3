"""Tables and figures of blocks that follow a known quantity."""

from __future__ import annotations

from typing import Any

import torch

from steerlab.analyzers.blocks.factors import Factor
from steerlab.analyzers.blocks.sampling import Sample, choice_of
from steerlab.analyzers.blocks.steering import Plan
from steerlab.analyzers.blocks.tuned import Tuned
from steerlab.analyzers.seen import drawable, pixels_of
from steerlab.bases import BlockView, Curved
from steerlab.model import Model
from steerlab.report import Plot, Table
from steerlab.sites import Site
from steerlab.tokens import TokenChoice

_POINTS = 400  # at most, in the figure of a block's geometry


def readers_table(found: Tuned) -> Table:
    """Held-out score and share explained of the best block and of what stands beside it."""
    rows = {f"block {found.best}": (float(found.score[found.best]), float(found.explained[found.best]))}
    rows |= found.others
    return {
        "reader": list(rows),
        "score": torch.tensor([score for score, _ in rows.values()]),
        "share explained": torch.tensor([share for _, share in rows.values()]),
    }


def blocks_table(found: Tuned) -> Table:
    """Every block, the one that follows best first."""
    order = found.fitted.argsort(descending=True)
    return {
        "block": order,
        "fitted": found.fitted[order],
        "score": found.score[order],
        "share explained": found.explained[order],
        "fires": found.fires[order],
    }


def geometry_table(view: BlockView, curve: Curved, sample: Sample, factor: Factor) -> Table:
    """Held-out activations in the block's own frame, and the fitted curve: ``x``, ``y``, ``part``."""
    known = sample.known()
    u = view.coordinates(known.rows)
    fires = ~u.isnan().any(-1)
    u, values = u[fires], known.values[fires]
    step = -(-len(u) // _POINTS)
    u, values = u[::step], values[::step]
    knots = curve.chart.knots[:, 0]
    low, high = (0.0, factor.period) if factor.period else (float(knots.min()), float(knots.max()))
    along = torch.linspace(low, high, 121, dtype=torch.float64)[:, None]
    line = (curve.decode(along).float() - view.origin) @ view.frame.T
    count = len(line)
    return {
        "x": torch.cat([u[:, 0], line[:, 0]]).float(),
        "y": torch.cat([u[:, 1], line[:, 1]]).float(),
        factor.name: torch.cat([values.float(), along[:, 0].float()]),
        "part": ["point"] * len(u) + ["fitted curve"] * count,
    }


def pictures_table(
    model: Model, inputs: Any, view: BlockView, *, at: Site, tokens: TokenChoice | None
) -> Table | None:
    """Pictures, and in each patch the block's geometry as colour; None where there is no grid of patches."""
    acts = model.capture(inputs, at)
    if acts.maps.get(at) is None or tokens is not None or choice_of(acts, at, None) != "patches":
        return None
    pictures = drawable(pixels_of(model, inputs))
    grid = acts.grid(at).float()
    if grid.ndim != 4:
        return None
    colours = (255 * view.colours(grid)).round().byte()
    presence = view.block.presence(grid)
    shade = (255 * presence / presence.amax().clamp_min(1e-12)).round().byte()
    rows, columns = pictures.shape[1] // grid.shape[1], pictures.shape[2] // grid.shape[2]

    def large(small: torch.Tensor) -> torch.Tensor:
        return small.repeat_interleave(rows, 1).repeat_interleave(columns, 2)

    return {
        "picture": pictures,
        "presence": large(shade[..., None].expand(*shade.shape, 3)),
        "geometry": large(colours),
    }


def steering_table(sums: torch.Tensor, plan: Plan) -> Table:
    """One row a move: the share of the way to the target that the read-out goes, for each arm."""
    share = 1 - sums[..., 1] / sums[..., 0]
    table = {
        "move": torch.tensor(plan.moves),
        "along the curve": share[:, 0],
        "way of the read-out": sums[:, 0, 2] / sums[:, 0, 3],
    }
    for arm, name in enumerate(plan.names, start=1):
        table[f"along the curve {name}" if name.startswith("random") else name] = share[:, arm]
    return table


def plots_of(tables: dict[str, Table], factor: Factor | None, at: str) -> dict[str, Plot]:
    """The figures that these tables allow."""
    plots = {
        "bits": Plot(
            "bars",
            "bits",
            f"Bits to send one activation of {at}",
            {
                "names": "featurizer",
                "y": "total,support,code,residual,dictionary",
                "label": "bits an activation",
            },
        ),
        "fullness": Plot(
            "scatter",
            "fullness",
            f"How full the blocks at {at} are",
            {
                "x": "fires",
                "y": "effective rank",
                "x label": "share of activations where it fires",
                "y label": "effective rank (dimensions)",
            },
        ),
    }
    if factor is None:
        return plots
    name = factor.name
    period = {} if factor.period is None else {"period": f"{factor.period:.6g}"}
    plots["readers"] = Plot(
        "bars",
        "readers",
        f"Who follows {name}, on held-out inputs",
        {"names": "reader", "y": "score,share explained", "label": f"{factor.score_name}, share explained"},
    )
    plots["geometry"] = Plot(
        "manifold",
        "geometry",
        f"The block that follows {name}",
        {"colour": name, "x label": "first direction", "y label": "second direction", **period},
    )
    if "pictures" in tables:
        plots["pictures"] = Plot("pictures", "pictures", f"Presence, and geometry as colour: {name}")
    if "steering" in tables:
        plots["steering"] = Plot(
            "lines",
            "steering",
            f"Steering {name} along its curve",
            {
                "x": "move",
                "y": "along the curve,single direction,against it",
                "x label": f"move of {name}",
                "y label": "share of the way that the read-out goes",
            },
        )
    return plots
