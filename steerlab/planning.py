"""What a dry run prints: everything resolved, how much memory and time it would take, and nothing asked."""

from __future__ import annotations

import textwrap
import time
import tomllib
from typing import Any

import torch
from torch import nn

from steerlab.errors import SteerlabError
from steerlab.locking import count, first_of, lock_of, places
from steerlab.page.pieces import duration
from steerlab.recipe import Opened, Recipe

SHOWN, WIDTH = 4, 80  # sites whose shapes are printed, letters of a setting


def plan(recipe: Recipe) -> str:
    """What a run would open and look at.

    The model and the dictionaries are opened; one input goes through the bare model, for the time.
    """
    opened = recipe.open()
    lock = lock_of(opened)
    model, settings = opened.model, tomllib.loads(recipe.to_toml())["analyzer"]
    lines = [
        f"model     {recipe.model}: {lock['model']['class']}, family {model.family.name}",
        f"data      {lock['data']['kind']}, {lock['data']['inputs']} inputs",
        f"analyzer  {settings.pop('kind')}",
        *(f"            {key} = {textwrap.shorten(str(value), WIDTH)}" for key, value in settings.items()),
    ]
    for name, at in places(opened):
        lines += [f"{name:9} {line}" for line in _sites(opened, at)]
    lines.append(f"weights   {_weights(opened) / 2**20:,.1f} MiB, {lock['model']['parameters']:,} parameters")
    lines.append(f"time      {_time(opened)}")
    return "\n".join(lines)


def _sites(opened: Opened, at: str) -> list[str]:
    """The sites with their shapes, and what reading them takes."""
    model = opened.model
    found = model._points.find(at)
    try:
        needed = f"{model.memory_estimate(opened.data, at) / 2**20:,.1f} MiB to read them all at once"
    except SteerlabError as fact:
        needed = f"memory unknown ({fact})"
    some = found if len(found) <= SHOWN else [*found[: SHOWN - 1], found[-1]]
    shapes = [f"  {site}  [{', '.join(_axes(point))}]" for site, point in some]
    if len(found) > SHOWN:
        shapes.insert(-1, f"  ... {len(found) - SHOWN} more")
    return [f"{at}: {len(found)} sites; {needed}", *shapes]


def _axes(point: Any) -> list[str]:
    """Names of the axes that the inputs decide, names and sizes of the others."""
    decided = ("batch", "token", "query", "key", "row", "column")
    return [
        axis if axis in decided else f"{axis} {size}"
        for axis, size in zip(point.axes, point.shape, strict=True)
    ]


def _weights(opened: Opened) -> int:
    return sum(
        p.numel() * p.element_size() for root in opened.model._roots.values() for p in root.parameters()
    )


def _time(opened: Opened) -> str:
    passes = opened.analyzer.passes(opened.model, opened.data)
    if passes is None:
        return f"unknown: {type(opened.analyzer).__name__} does not say how often it runs the model"
    each = _seconds_of_one(opened)
    return (
        f"about {duration(each * passes)}: {passes:,.0f} inputs pass the model, {1000 * each:.3g} ms each "
        f"(of {count(opened.data)}; alone, so in batches it takes less)"
    )


def _seconds_of_one(opened: Opened) -> float:
    """Seconds in which one input passes the bare model; for a pipeline, one denoising step."""
    model, first = opened.model, first_of(opened.data)
    if isinstance(model.module, nn.Module):
        inputs = model._prepared(first)

        def once() -> None:
            with torch.no_grad():
                model.module(**inputs)
    else:

        def once() -> None:
            model.generate(first, steps=1, progress=False)

    times = []
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return min(times)
