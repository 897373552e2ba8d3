"""Tables of figures that a kind draws in more than one form: panels side by side, groups, retrieval."""

from __future__ import annotations

import math

import torch
from planted import generator, randn

from steerlab.figures import gap_view, two_spaces

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MODES = ("along the curve", "straight, inside", "straight, the whole activation", "random of equal norm")


def ring_in_two_spaces() -> dict:
    """A ring with an overtone in five dimensions and its softmax read-out, with a chord from Mon to Thu."""

    def curve(turn: torch.Tensor) -> torch.Tensor:
        waves = [(n * turn).cos() if odd else (n * turn).sin() for n in (1, 2) for odd in (1, 0)]
        return torch.stack([4 * waves[0], 4 * waves[1], waves[2], waves[3], torch.ones_like(turn)], -1)

    knots = curve(torch.arange(7) * 2 * math.pi / 7)
    round_, way = (torch.linspace(0, end, 40) for end in (2 * math.pi, 6 * math.pi / 7))
    t = torch.linspace(0, 1, 12)[:, None]
    paths = {
        "fitted curve": curve(round_),
        "along the curve": curve(way)[::3],
        "straight": (1 - t) * knots[0] + t * knots[3],
    }

    def roots(x: torch.Tensor) -> torch.Tensor:
        return (x @ knots.T / 4).softmax(-1).sqrt()

    return two_spaces(
        {
            "activations": (knots, paths),
            "behaviour": (roots(knots), {name: roots(path) for name, path in paths.items()}),
        },
        DAYS,
    )


def gap() -> dict:
    """Two clouds in eight dimensions, their means 2 apart, and the same once the gap is removed."""
    g = generator(3)
    images, texts = 0.3 * randn(200, 8, g=g), 0.3 * randn(200, 8, g=g)
    images[:, 1] *= 3
    aside = torch.zeros(8)
    aside[0] = 1.0
    before = {"image": images + aside, "text": texts - aside}
    return gap_view(before, {"image": images, "text": texts})


def energies() -> dict:
    """An energy of 21 pairs under four modes."""
    g = generator(4)
    means = (0.35, 0.9, 1.1, 2.4)
    values = torch.cat([mean * (0.6 + 0.8 * torch.rand(21, generator=g)) for mean in means])
    pairs = [f"{DAYS[i]} to {DAYS[j]}" for i in range(7) for j in range(i)]
    return {"mode": [mode for mode in MODES for _ in range(21)], "pair": pairs * 4, "energy": values}


def probabilities(count: int = 7) -> dict:
    """Outcomes along two ways: one passes all between its ends, the other loses them to something else."""
    t = torch.linspace(0, 1, 30)
    places = torch.arange(count)
    along = (-8 * ((count - 1) * t[:, None] - places).square() / count).exp() + 1e-6
    straight = torch.zeros(30, count)
    straight[:, 0], straight[:, -1] = (1 - t) ** 2, t**2
    table: dict = {"mode": ["along the curve"] * 30 + ["straight"] * 30, "fraction": torch.cat([t, t])}
    along = 0.95 * along / along.sum(1, keepdim=True)
    names = DAYS if count == 7 else [f"value {i}" for i in range(count)]
    for i, name in enumerate(names):
        table[name] = torch.cat([along[:, i], straight[:, i]])
    table["other"] = 1 - sum(table[name] for name in names)
    return table


def retrieval() -> dict:
    """Recall of composed queries by four ways of composing, with errors and random controls."""
    first, fifth = torch.tensor([0.11, 0.42, 0.55, 0.71]), torch.tensor([0.31, 0.70, 0.78, 0.93])
    table: dict = {"way": ["image alone", "sum of both", "sum without the gap", "by its bimodal part"]}
    for name, values in (("recall at 1", first), ("recall at 5", fifth)):
        table |= {name: values, f"{name} low": values - 0.03, f"{name} high": values + 0.03}
    table |= {f"recall at 1 random {i}": torch.full((4,), 0.04 + 0.01 * i) for i in range(3)}
    return table


# name: (kind, table, options)
VARIANTS: dict[str, tuple[str, dict, dict[str, str]]] = {
    "curve and behaviour": (
        "manifold",
        ring_in_two_spaces(),
        {"panel": "panel", "names": "name", "x label": "first component", "y label": "second component"},
    ),
    "gap before and after": (
        "scatter",
        gap(),
        {
            "x": "x",
            "y": "y",
            "panel": "panel",
            "classes": "class",
            "x label": "difference of the means",
            "y label": "first component of the rest",
        },
    ),
    "twelve ribbons": (
        "ribbons",
        probabilities(12),
        {
            "x": "fraction",
            "y": ",".join([*(f"value {i}" for i in range(12)), "other"]),
            "panel": "mode",
            "x label": "fraction of the way",
        },
    ),
    "retrieval with controls": (
        "bars",
        retrieval(),
        {
            "names": "way",
            "y": "recall at 1, recall at 5",
            "label": "recall (share of queries)",
            "names label": "",
            "x reference": "0.01",
            "x reference label": "chance",
        },
    ),
}
COMPARED = (
    energies(),
    {
        "groups": "mode",
        "units": "pair",
        "y": "energy",
        "y label": "energy (nats, sum over 50)",
        "tests": f"{MODES[0]}/{MODES[1]}=6e-5; {MODES[0]}/{MODES[2]}=3e-7; {MODES[1]}/{MODES[2]}=0.031",
    },
)
RIBBONS = (
    probabilities(),
    {
        "x": "fraction",
        "y": ",".join([*DAYS, "other"]),
        "panel": "mode",
        "x label": "fraction of the way",
    },
)
