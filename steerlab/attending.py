"""Attention watched as it happens: what each block looks at, in one forward, with no pattern kept or made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from steerlab import taps
from steerlab.entrances import what_to_call
from steerlab.errors import SteerlabError
from steerlab.looks import Looks
from steerlab.model import Model
from steerlab.points import Tap
from steerlab.reading import Plan
from steerlab.sites import Site
from steerlab.tokens import TokenMap

See = Callable[[Site, Looks], None]


@contextmanager
def attending(model: Model, at: str | Site | Iterable[str | Site], see: See) -> Iterator[None]:
    """A context in which ``see(site, looks)`` is called after every attention call of some blocks.

    Every kernel stays what it is, and nothing is kept: what `see` needs it takes out of the `Looks`, a few
    keys (`Looks.to`) or a few rows (`Looks.tiles`) at a time.

    Parameters
    ----------
    model : Model
        The model.
    at : site or list of sites
        Patterns: ``"blocks.*.pattern"``.
    see : callable
        What is called; `Looks` is valid until it returns.
    """
    installed = _installed(model, Plan(_patterns(model, at)), see)
    try:
        yield
    finally:
        installed.remove()


def attend(
    model: Model, inputs: Any, at: str | Site | Iterable[str | Site], see: See
) -> Mapping[str, TokenMap | None]:
    """Run once without gradients under `attending`; the forward ends after the last of the sites.

    Returns
    -------
    mapping
        By tower, what its tokens are.
    """
    kwargs = model._prepared(inputs)
    plan = Plan(_patterns(model, at))
    run, own = what_to_call(model.module, model.family, plan.towers, kwargs)
    whole = plan.look()  # accelerate's offload hooks would not run after a forward that ended early
    countdown = None if whole else taps.Countdown(plan.reads)
    installed = _installed(model, plan, see, countdown)
    try:
        with torch.no_grad():
            run(**own)
    except taps.Stop:
        pass
    finally:
        installed.remove()
    return {name: model._entrances[name].describe(own) for name in plan.towers if name in model._entrances}


def _patterns(model: Model, at: str | Site | Iterable[str | Site]) -> tuple:
    found = model._points.find(at)
    for site, _ in found:
        if site.stream != "pattern" or site.heads:
            raise SteerlabError(f"{site}: what is watched are patterns of all heads, as 'blocks.*.pattern'")
    return found


def _installed(model: Model, plan: Plan, see: See, countdown: taps.Countdown | None = None) -> taps.Installed:
    plan.look()
    own = [Tap(replace(point, side="looks"), store=partial(see, site)) for site, point in plan.found]
    return taps.install(own, countdown)
