"""What was seen along the ways, as tables and figures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.analyzers.picture_manifold.fitting import Fitted
from steerlab.analyzers.picture_manifold.measuring import Reader
from steerlab.analyzers.picture_manifold.walking import Walk, commanded, energies
from steerlab.report import Plot, Table

# table of means: quantity of a walk, label of the axis, title of the figure
MEANS = {
    "sureness": ("sure", "confidence of the checker", "How sure the checker is along the ways"),
    "chroma": ("colourful", "distance from grey", "How colourful objects are along the ways"),
    "kept": ("same", "share of pictures", "Pictures whose {keeps} stays along the ways"),
}


def tables(walks: Sequence[Walk], fitted: Fitted, reader: Reader, ends: tuple[str, str]) -> dict[str, Table]:
    """Pictures, everything that was seen, its means by waypoint, probabilities, and the values."""
    asked = commanded(fitted, ends, len(walks[0].seen))
    strip = {walk.name: torch.stack(walk.shown).movedim(1, -1) for walk in walks}
    read = {walk.name: _near(reader, asked, walk.rows("seen").mean(0)) for walk in walks}
    filled: dict[str, Table] = {
        "pictures": {"title": [f"{float(one):.0f}" for one in asked], **strip},
        "seen": _everything(walks, fitted, reader, asked),
        "read": {"commanded": asked, **read},
    }
    for name, (quantity, *_) in MEANS.items():
        columns = {"commanded": asked}
        for walk in walks:
            columns |= _band(walk.name, walk.rows(quantity))
        filled[name] = columns
    filled["probabilities"] = _probabilities(walks, reader)
    return filled | {"values": _plane(fitted, reader, ends)}


def plots(reader: Reader, filled: dict[str, Table], questions: tuple[str, str]) -> dict[str, Plot]:
    """The strip, what was read of what was asked, how natural it is, probabilities, and the plane."""
    ways = ",".join(name for name in filled["pictures"] if name != "title")
    question, keeps = questions
    common = {"x": "commanded", "x label": f"{question} asked for", "y": ways}
    read = {"y label": f"{question} seen"}
    lines = {"read": Plot("lines", "read", "What is seen of what is asked for", common | read)}
    for name, (_, label, title) in MEANS.items():
        lines[name] = Plot("lines", name, title.format(keeps=keeps), common | {"y label": label})
    shares = {"x": "fraction", "y": ",".join(reader.values), "panel": "way", "x label": "fraction of the way"}
    axes = {"names": "name", "x label": "component 1", "y label": "component 2"}
    return {
        "pictures": Plot("pictures", "pictures", f"One picture along the ways, by the {question} asked for"),
        **lines,
        "probabilities": Plot("ribbons", "probabilities", f"What {question} the checker sees", shares),
        "values": Plot("manifold", "values", "The values' means and the ways, in two components", axes),
    }


def _everything(
    walks: Sequence[Walk], fitted: Fitted, reader: Reader, asked: torch.Tensor
) -> dict[str, torch.Tensor | list]:
    """A row a way, picture and waypoint."""
    names, columns = [], []
    for walk in walks:
        read = reader.read(walk.rows("seen"))
        picture, waypoint = torch.meshgrid(*(torch.arange(size) for size in read.shape), indexing="ij")
        kinds = (walk.rows("sure"), walk.rows("colourful"), walk.rows("same"), energies(walk, fitted))
        columns.append([one.flatten() for one in (picture, waypoint, asked.expand(read.shape), read, *kinds)])
        names += [walk.name] * read.numel()
    titles = ("picture", "waypoint", "commanded", "read", "sureness", "chroma", "kept", "energy")
    return {"way": names} | {
        title: torch.cat(parts) for title, parts in zip(titles, zip(*columns, strict=True), strict=True)
    }


def _probabilities(walks: Sequence[Walk], reader: Reader) -> dict[str, torch.Tensor | list]:
    """Mean probabilities of the values by way and waypoint."""
    means = torch.stack([walk.rows("seen").mean(0) for walk in walks])  # [way, waypoint, value]
    count = means.shape[1]
    fractions = torch.linspace(0, 1, count, dtype=torch.float64).repeat(len(walks))
    shares = dict(zip(reader.values, means.flatten(0, 1).T, strict=True))
    return {"way": [walk.name for walk in walks for _ in range(count)], "fraction": fractions, **shares}


def _near(reader: Reader, asked: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Coordinates of mean probabilities ``[waypoint, value]``, by the turn nearest to what was asked."""
    read = reader.read(seen)
    if reader.period is None:
        return read
    return asked + reader.ways(torch.stack([asked, read], -1))[..., 0]


def _band(name: str, quantity: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean of ``[picture, waypoint]`` and one standard error to either side."""
    mean = quantity.mean(0)
    error = quantity.std(0) / len(quantity) ** 0.5 if len(quantity) > 1 else torch.zeros_like(mean)
    return {name: mean, f"{name} low": mean - error, f"{name} high": mean + error}


def _plane(fitted: Fitted, reader: Reader, ends: tuple[str, str]) -> Table:
    """The values, the whole curve and both paths in the first two components."""
    man = fitted.manifold
    if man.periods[0] is None:
        places = torch.linspace(float(man.knots.min()), float(man.knots.max()), 100, dtype=torch.float64)
    else:
        places = torch.linspace(0, man.periods[0], 200, dtype=torch.float64)
    parts = {
        "point": man.values,
        "whole curve": man.surface.at(places[:, None]),
        "curve": (man.path(*ends).points - man.mean) @ man.frame.T,
        "line": (man.path(*ends, mode="linear_subspace").points - man.mean) @ man.frame.T,
    }
    every = torch.cat(list(parts.values()))
    return {
        "part": [name for name, rows in parts.items() for _ in rows],
        "name": [*reader.values, *[""] * (len(every) - len(reader.values))],
        "x": every[:, 0],
        "y": every[:, 1],
    }
