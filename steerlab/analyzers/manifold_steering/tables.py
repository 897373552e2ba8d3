"""Tables of a report on manifold steering: means beside their errors, pair by pair and gap by gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch

from steerlab.analyzers.manifold_steering.fitting import Seen
from steerlab.analyzers.manifold_steering.prompts import Concept
from steerlab.analyzers.manifold_steering.pulling import Pullback
from steerlab.analyzers.manifold_steering.steering import Own, Walked
from steerlab.analyzers.manifold_steering.study import Pair
from steerlab.bases import Manifold
from steerlab.numerics.behaviour import Behaviour
from steerlab.numerics.linear import principal_components
from steerlab.numerics.significance import paired_t_test
from steerlab.numerics.simplex import roots
from steerlab.report import Table

Walks = Mapping[tuple[Pair, str], Walked]
PULLED = ("agreement", "chord", "length", "distance", "chord_distance")  # of a `Pullback`
CURVE = 200  # points in which a fitted curve is drawn


def accuracy_table(found: Seen, templates: Sequence[str]) -> Table:
    """A row a template and offset: accuracy, and the mass of all values together."""
    keys = dict.fromkeys((prompt.family, prompt.offset) for prompt in found.prompts)
    own = {
        key: torch.tensor([(prompt.family, prompt.offset) == key for prompt in found.prompts]) for key in keys
    }
    return {
        "template": [templates[family] for family, _ in keys],
        "offset": torch.tensor([offset for _, offset in keys]),
        "prompts": torch.tensor([int(on.sum()) for on in own.values()]),
        "accuracy": torch.stack([found.right[on].double().mean() for on in own.values()]),
        "mass of the values": torch.stack(
            [1 - found.behaviour[on, -1].double().mean() for on in own.values()]
        ),
    }


def pair_table(walks: Walks, concept: Concept, modes: Sequence[str]) -> Table:
    """A row a pair: energy in each mode, the same a waypoint, and the mass of the values along the way."""
    pairs = list(dict.fromkeys(pair for pair, _ in walks))
    table: dict[str, torch.Tensor | list] = {
        "start": [concept.values[a] for a, _ in pairs],
        "end": [concept.values[b] for _, b in pairs],
        "gap": torch.tensor([concept.gap(a, b) for a, b in pairs]),
    }
    for mode in modes:
        several = [walks[pair, mode] for pair in pairs]
        energy = torch.stack([one.energy.mean() for one in several])
        table |= {
            f"energy {mode}": energy,
            f"energy a waypoint {mode}": energy / len(several[0].behaviour),
            f"mass {mode}": torch.stack([one.coherence[0] for one in several]),
            f"least mass {mode}": torch.stack([one.coherence[1] for one in several]),
            f"edit {mode}": torch.stack([one.size.mean() for one in several]),
        }
    return table


def mode_table(walks: Walks, modes: Sequence[str]) -> Table:
    """A row a pair and mode, for tests and dots: its energy."""
    return {
        "pair": [f"{pair[0]} to {pair[1]}" for pair, mode in walks if mode in modes],
        "mode": [mode for _, mode in walks if mode in modes],
        "energy": torch.stack([one.energy.mean() for (_, mode), one in walks.items() if mode in modes]),
    }


def mean_table(walks: Walks, modes: Sequence[str]) -> Table:
    """A row a mode: energy, with its standard error over pairs and over base prompts, and mass."""
    energies = {
        mode: torch.stack([one.energy for (_, m), one in walks.items() if m == mode]) for mode in modes
    }
    masses = {
        mode: torch.stack([one.coherence for (_, m), one in walks.items() if m == mode]) for mode in modes
    }
    means = torch.stack([one.mean() for one in energies.values()])
    errors = torch.stack([_error(one.mean(1)) for one in energies.values()])
    return {
        "mode": list(modes),
        "energy": means,
        "energy low": means - errors,
        "energy high": means + errors,
        "error over pairs": errors,
        "error over prompts": torch.stack([_error(one.mean(0)) for one in energies.values()]),
        "mass": torch.stack([one[:, 0].mean() for one in masses.values()]),
        "least mass": torch.stack([one[:, 1].mean() for one in masses.values()]),
    }


def gap_table(walks: Walks, concept: Concept, modes: Sequence[str]) -> Table:
    """A row a gap: mean energy of each mode over the pairs so far apart, with its standard error."""
    gaps = sorted({concept.gap(*pair) for pair, _ in walks})
    table: dict[str, torch.Tensor | list] = {"gap": torch.tensor(gaps)}
    for mode in modes:
        several = [
            torch.stack(
                [w.energy.mean() for (pair, m), w in walks.items() if m == mode and concept.gap(*pair) == g]
            )
            for g in gaps
        ]
        means, errors = (torch.stack([f(one) for one in several]) for f in (torch.mean, _error))
        table[mode] = means
        if bool(errors.isfinite().any()):  # a single pair has no error
            table |= {f"{mode} low": means - errors, f"{mode} high": means + errors}
    return table


def test_table(walks: Walks, modes: Sequence[str]) -> Table:
    """A row two modes: the mean difference of their energies over pairs, and Student's paired test."""
    energies = {
        mode: torch.stack([one.energy.mean() for (_, m), one in walks.items() if m == mode]) for mode in modes
    }
    rows = []
    for first, second in combinations(modes, 2):
        apart = energies[second] - energies[first]
        t, p = paired_t_test(apart[:, None]) if len(apart) > 1 else (torch.full((1,), torch.nan),) * 2
        rows.append((first, second, float(apart.mean()), float(t[0]), float(p[0])))
    return {
        "mode": [row[0] for row in rows],
        "against": [row[1] for row in rows],
        "energy saved": torch.tensor([row[2] for row in rows], dtype=torch.float64),
        "t": torch.tensor([row[3] for row in rows], dtype=torch.float64),
        "p": torch.tensor([row[4] for row in rows], dtype=torch.float64),
    }


def success_table(aims: Mapping[str, Mapping[str, torch.Tensor]]) -> Table:
    """A row a gap: share of prompts whose answer became the one aimed at, a column a place and mode."""
    every = torch.cat([rows for modes in aims.values() for rows in modes.values()])
    gaps = every[:, 0].unique()
    table: dict[str, torch.Tensor | list] = {"gap": gaps.long()}
    for place, modes in aims.items():
        for mode, rows in modes.items():
            own = [rows[rows[:, 0] == gap, 1] for gap in gaps]
            table[f"{mode} {place}"] = torch.stack([_mean(one) for one in own])
            table[f"prompts {place}"] = torch.tensor([len(one) for one in own])
    return table


def own_table(found: Own, prompts: Sequence[str]) -> Table:
    """A row a base prompt: how far from the curve it is, and what replacing its own code costs."""
    return {
        "prompt": list(prompts),
        "distance to the curve in gaps": found.distance,
        "own code": found.code,
        "own place on the curve": found.curve,
    }


def ribbon_table(walks: Walks, pair: Pair, names: Sequence[str], modes: Sequence[str]) -> Table:
    """A row a waypoint and mode of one pair: the mean distribution, and how long the edit is."""
    several = {mode: walks[pair, mode] for mode in modes}
    count = len(next(iter(several.values())).behaviour)
    behaviour = torch.cat([one.behaviour for one in several.values()])
    return {
        "mode": [mode for mode in several for _ in range(count)],
        "fraction": torch.linspace(0, 1, count, dtype=torch.float64).repeat(len(several)),
        "edit": torch.cat([one.size for one in several.values()]),
        **{name: behaviour[:, i] for i, name in enumerate((*names, "other"))},
    }


def pull_table(pulled: Mapping[Pair, Pullback], concept: Concept) -> Table:
    """A row a pair that was pulled back: how its path, and its chord, lie to the curve of activations."""
    return {
        "pair": [f"{concept.values[a]} to {concept.values[b]}" for a, b in pulled],
        **{
            name: torch.tensor([getattr(one, name) for one in pulled.values()], dtype=torch.float64)
            for name in PULLED
        },
        "loss": torch.stack([one.losses[-1] for one in pulled.values()]),
    }


def curve_table(curves: tuple[Manifold, Behaviour], walks: Walks, pair: Pair, modes: Sequence[str]) -> Table:
    """Points, curves and ways in the plane of two components, of activations and of roots of behaviour."""
    manifold, behaviour = curves
    period = manifold.periods[0]
    rows: list[tuple[str, str, str, torch.Tensor]] = []
    for panel, chart, at in (
        ("activations", manifold.chart, manifold.decode),
        ("behaviour", behaviour.chart, behaviour.roots),
    ):
        line = chart.knots[:, 0]
        span = (line.min(), line.min() + period) if period else (line.min(), line.max())
        drawn = at(torch.linspace(float(span[0]), float(span[1]), CURVE, dtype=torch.float64)[:, None])
        values = at(chart.knots)
        mean, frame, _ = principal_components(values, 2)
        rows += [(panel, "fitted curve", "", (drawn - mean) @ frame.T)]
        for mode in modes:
            if panel == "behaviour":
                points = roots(walks[pair, mode].behaviour)
            elif mode in ("manifold", "linear", "linear_subspace"):
                points = manifold.path(*pair, count=len(walks[pair, mode].behaviour), mode=mode).points
            else:
                continue
            rows.append((panel, mode, "", (points - mean) @ frame.T))
        named = manifold.names or [str(i) for i in range(len(values))]
        rows += [
            (panel, "point", name, ((at_ - mean) @ frame.T)[None])
            for name, at_ in zip(named, values, strict=True)
        ]
    return {
        "panel": [panel for panel, _, _, points in rows for _ in points],
        "part": [part for _, part, _, points in rows for _ in points],
        "name": [name for _, _, name, points in rows for _ in points],
        "x": torch.cat([points[:, 0] for *_, points in rows]),
        "y": torch.cat([points[:, 1] for *_, points in rows]),
    }


def _error(values: torch.Tensor) -> torch.Tensor:
    """Standard error of a mean over ``[sample]``; NaN for one sample."""
    return values.std() / len(values) ** 0.5 if len(values) > 1 else values.new_tensor(torch.nan)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean() if len(values) else values.new_tensor(torch.nan)
