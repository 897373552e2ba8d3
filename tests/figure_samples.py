"""One table and its options for every kind of figure that a report can draw."""

from __future__ import annotations

import math

import torch
from figure_variants import COMPARED, DAYS, RIBBONS, VARIANTS

from steerlab.figures.plots import draw
from steerlab.report import Plot

TEXT = " The old library closed early on Sunday , so we read\nin the park until it was too dark".split(" ")


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _tokens() -> dict:
    pieces = [f" {word}" for word in TEXT if word]
    values = torch.linspace(-1, 1, len(pieces)).sin()
    rows = [name for name in ("a story", "the same, steered", "a control") for _ in pieces]
    return {"row": rows, "token": pieces * 3, "code": torch.cat([values, -values, 0.2 * values])}


def _pictures(*shape: int) -> torch.Tensor:
    """Pictures of a bright disc, ``[*shape, 24, 24, 3]``."""
    side = torch.linspace(-1, 1, 24)
    disc = ((side[:, None] ** 2 + side**2) < 0.4).float()[..., None] * torch.tensor([0.9, 0.5, 0.2])
    return disc.expand(*shape, 24, 24, 3).contiguous()


def _manifold() -> dict:
    turn = torch.arange(7) * 2 * math.pi / 7
    ring = torch.linspace(0, 2 * math.pi, 40)
    straight, round_ = torch.linspace(0, 1, 5)[:, None], torch.linspace(0, 3 * 2 * math.pi / 7, 9)

    def circle(t: torch.Tensor) -> torch.Tensor:
        return torch.stack([4 * t.cos(), 3 * t.sin()], 1)

    chord = circle(turn[:1]) * (1 - straight) + circle(turn[3:4]) * straight
    places = torch.cat([circle(turn), circle(ring), chord, circle(round_)])
    part = ["point"] * 7 + ["fitted curve"] * 40 + ["straight"] * 5 + ["along the curve"] * 9
    day = torch.cat([torch.arange(7.0), torch.full((54,), torch.nan)])
    return {"x": places[:, 0], "y": places[:, 1], "part": part, "day": day, "name": DAYS + [""] * 54}


def _lines() -> dict:
    block = torch.arange(12)
    accuracy = 0.5 + 0.45 / (1 + (-(block - 5.0)).exp())
    return {
        "block": block,
        "shape": accuracy,
        "shape low": accuracy - 0.04,
        "shape high": accuracy + 0.04,
        "colour": 0.9 - 0.03 * block,
        "shape random 0": 0.5 + 0.02 * _random(12, seed=1),
        "shape random 1": 0.5 - 0.02 * _random(12, seed=2),
    }


def _similarity() -> dict:
    phase = torch.tensor([0] * 6 + [1] * 10 + [2] * 8)
    near = (phase[:, None] == phase).float() * 0.6
    step = torch.arange(24.0)
    return {"likeness": near + 0.4 * (-(step[:, None] - step).abs() / 4).exp(), "phase": phase}


def _scatter() -> dict:
    norm = torch.cat([1 + _random(60, seed=3), 6 + 4 * _random(5, seed=4)])
    attention = torch.cat([0.1 * _random(60, seed=5), 0.5 + 0.4 * _random(5, seed=6)])
    names = [f"patch {i}" for i in range(65)]
    return {"norm": norm, "attention": attention, "class": ["ordinary"] * 60 + ["sink"] * 5, "name": names}


RANK = torch.arange(1.0, 33)

# kind: (table, options)
SAMPLES: dict[str, tuple[dict, dict[str, str]]] = {
    "head grid": (
        {
            "block": torch.arange(6).repeat_interleave(9),
            "head": torch.arange(9).repeat(6),
            "effect": _random(54) ** 6,
        },
        {"value": "effect", "label": "KL (nats)", "scale": "log"},
    ),
    "tokens": (_tokens(), {"value": "code", "label": "projection (× the norm)"}),
    "maps": (
        {
            "image": _pictures(2),
            "norm": _random(2, 6, 6),
            "code": _random(2, 6, 6, seed=1),
            "scene": ["a red circle on the left", "a blue star"],
        },
        {"maps": "norm,code", "label": "share", "scale": "shared", "rows": "scene"},
    ),
    "frames": (
        {
            "image": _pictures(3, 8),
            "attention": _random(3, 8, 4, 4) ** 3,
            "head": [f"blocks.{i}.heads.7" for i in range(3)],
        },
        {
            "value": "attention",
            "label": "attention (share)",
            "rows": "head",
            "columns": ",".join(str(2 * i) for i in range(8)),
            "x label": "frame",
        },
    ),
    "mode maps": (
        {
            "image": _pictures(2),
            "PP: block 2 query": _random(2, 6, 6) - 0.3,
            "PP: block 2 key": _random(2, 6, 6, seed=1) - 0.3,
            "CC: block 5 query": _random(2, 6, 6, seed=2) - 0.3,
            "CC: block 5 key": _random(2, 6, 6, seed=3) - 0.3,
            "scene": ["a red circle", "a blue star"],
        },
        {"modes": "PP: block 2,CC: block 5", "rows": "scene"},
    ),
    "pictures": (
        {"before": _pictures(3), "after": 1 - _pictures(3), "title": ["seed 0", "seed 1", "seed 2"]},
        {"changes": "after"},
    ),
    "similarity": (
        _similarity(),
        {
            "value": "likeness",
            "label": "cosine similarity",
            "x label": "denoising step",
            "phases": "layout,shapes,details",
        },
    ),
    "dose response": (
        {
            "strength": torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]),
            "score": torch.tensor([-0.6, -0.2, 0.1, 0.5, 0.9]),
            "score random 0": torch.tensor([0.15, 0.1, 0.1, 0.05, 0.0]),
            "score random 1": torch.tensor([0.0, 0.05, 0.1, 0.15, 0.2]),
        },
        {"x": "strength", "y": "score", "x label": "strength (× the norm)", "y label": "score (nats)"},
    ),
    "lines": (
        _lines(),
        {
            "x": "block",
            "y": "shape,colour",
            "y label": "accuracy (share)",
            "x ticks": "whole",
            "y reference": "0.5",
            "y reference label": "chance",
        },
    ),
    "spectrum": (
        {
            "block 3": 10 * RANK**-2.0,
            "block 9": 10 * (-RANK / 4).exp(),
            "shuffled": 0.3 * (1 - RANK / 40),
        },
        {
            "y": "block 3, block 9",
            "noise": "shuffled",
            "effective ranks": "1.7, 6.4",
            "y label": "variance (of 1)",
        },
    ),
    "manifold": (
        _manifold(),
        {
            "colour": "day",
            "period": "7",
            "label": "day of the week",
            "names": "name",
            "x label": "PC 1",
            "y label": "PC 2",
        },
    ),
    "scatter": (
        _scatter(),
        {
            "x": "norm",
            "y": "attention",
            "classes": "class",
            "names": "name",
            "x label": "norm (× the median)",
            "y label": "attention received (share)",
            "x scale": "log",
            "x reference": "4",
            "x reference label": "threshold",
        },
    ),
    "bars": (
        {
            "name": ["blocks.3.heads.7", "blocks.5.heads.1", "the MLP of block 11, all of its neurons"],
            "effect": torch.tensor([0.8, 0.5, -0.2]),
            "effect low": torch.tensor([0.7, 0.45, -0.3]),
            "effect high": torch.tensor([0.95, 0.6, -0.15]),
            "effect random 0": torch.tensor([0.1, 0.05, 0.02]),
            "effect random 1": torch.tensor([0.15, 0.02, -0.02]),
        },
        {"names": "name", "y": "effect", "label": "KL (nats)", "names label": ""},
    ),
    "compared": COMPARED,
    "ribbons": RIBBONS,
}

EVERY = {kind: (kind, *sample) for kind, sample in SAMPLES.items()} | VARIANTS


def drawn(name: str, change: dict | None = None, **options: str):
    """A sample with some columns and options changed; a column that is None is left out."""
    kind, table, given = EVERY[name]
    table = {name: column for name, column in (table | (change or {})).items() if column is not None}
    return draw(kind, table, Plot(kind, "t", "a title", given | options))
