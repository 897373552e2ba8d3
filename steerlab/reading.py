"""Activations read from a forward: chosen before they are stored, and no more forward than needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from steerlab import taps
from steerlab.activations import Activations, TowerMaps, chosen_tokens
from steerlab.clock import Clock
from steerlab.editing import chosen_axes
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.intervention import refuse_compiled
from steerlab.points import Point
from steerlab.scope import Scope
from steerlab.sites import Site
from steerlab.steps import Step
from steerlab.tokens import TokenChoice, TokenMap

Found = tuple[tuple[Site, Point], ...]
_MISSING = object()


@dataclass(frozen=True)
class Selection:
    """What to keep of an activation; None keeps all.

    Parameters
    ----------
    tokens : optional
        Some tokens.
    dtype : torch.dtype, optional
        Another dtype.
    scope : Scope, optional
        Denoising steps and a guidance branch; what else a scope chooses is not looked at.
    reduce : callable, optional
        ``(so far or None, activation) -> so far``: one running value in place of every fire.
    """

    tokens: TokenChoice | None = None
    dtype: torch.dtype | None = None
    scope: Scope = Scope()
    reduce: Callable[[Any, torch.Tensor], Any] | None = None


class Plan:
    """Sites to read, looked at once so that reading them again costs little.

    Parameters
    ----------
    found : tuple of (Site, Point)
        What to read.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.sites = tuple(site for site, _ in found)
        self.heads = tuple(site.select(point.heads) if site.heads else None for site, point in found)
        self.axes = {
            site: chosen_axes(point.axes, heads)[0]
            for (site, point), heads in zip(found, self.heads, strict=True)
        }
        self.towers = tuple(dict.fromkeys(point.tower for _, point in found))
        self.tower_of = {site: point.tower for site, point in found}
        # what a module passes on and nobody writes into later can be kept as it is
        self.plainly = tuple(
            point.side == "output" and point.layout.plain and point.fires == 1
            and not point.volatile and heads is None
            for (_, point), heads in zip(found, self.heads, strict=True)
        )  # fmt: skip
        self.nothing = [_MISSING] * len(found)
        self.above = tuple(dict.fromkeys(module for _, point in found for module in point.above))
        fires = [point.fires for _, point in found]
        self.reads = 0 if 0 in fires else sum(fires)

    def look(self) -> bool:
        """Refuse sites inside compiled modules; returns whether accelerate's hooks move weights about."""
        offloaded = False
        for module in self.above:
            if module._compiled_call_impl is not None or module.__class__.__name__ == "OptimizedModule":
                refuse_compiled(self.found)
            offloaded = offloaded or "_hf_hook" in module.__dict__
        return offloaded


class Reading:
    """A context that reads sites in every forward, the user's own calls included.

    Inside the context or after it, `activations()` gives what the last forward showed. Where a site fires
    several times (generation, denoising), ``every=True`` keeps all of them.
    """

    def __init__(self, plan: Plan, clock: Clock, selection: Selection, *, every: bool = False) -> None:
        self.offloaded = plan.look()
        self._plan, self._clock, self._selection, self._every = plan, clock, selection, every
        self._values: list[Any] = []
        self._later: dict[str, Callable[[], TokenMap | None]] = {}
        self._steps: dict[Site, list[Step]] = {}
        self._installed: taps.Installed | None = None

    def start(self, countdown: taps.Countdown | None = None) -> None:
        """Put the taps on; `countdown` ends the forward after the last read."""
        plan, selection = self._plan, self._selection
        plainly = selection.tokens is None and selection.dtype is None and not self._every
        values = self._values = list(plan.nothing)
        self._steps.clear()
        modules, stores, others = [], [], []
        for index, (site, point) in enumerate(plan.found):
            if plainly and plan.plainly[index]:
                modules.append(point.module)
                stores.append(partial(values.__setitem__, index))
            else:
                others.append(taps.Tap(point, store=self._store(index, site, point)))
        self._installed = taps.install(others, countdown)
        try:
            taps.install_reads(self._installed, modules, stores, countdown)
            towers = [prefix for prefix in plan.towers if prefix in self._clock.towers]
            if towers and (self._clock.tells_time or selection.tokens is not None):
                self._installed.keep(self._clock.follow())
            for prefix in towers:
                self._installed.keep(self._clock.listen(prefix))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take the taps off; the activations stay."""
        installed, self._installed = self._installed, None
        if installed is not None:
            try:
                self._describe()
            finally:
                installed.remove()

    def __enter__(self) -> Reading:
        if self._installed is not None:
            raise SteerlabError("this context is entered already; make a new one with model.read(...)")
        self.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()

    def activations(self) -> Activations:
        """What was read; a site that never fired is an error."""
        if self._installed is not None:
            self._describe()
        plan, tensors, axes = self._plan, {}, dict(self._plan.axes)
        for site, value, plain in zip(plan.sites, self._values or plan.nothing, plan.plainly, strict=True):
            if value is _MISSING:
                self._refuse_missing()
            if isinstance(value, list):
                if len(value) > 1:
                    first = "step" if len(self._steps.get(site, ())) == len(value) else "call"
                    value, axes[site] = _stacked(site, value), (first, *axes[site])
                else:
                    value = value[0]
            elif not plain and value.untyped_storage().nbytes() > value.numel() * value.element_size():
                value = value.clone()  # a view would keep a larger tensor alive
            tensors[site] = value
        later = self._later if self._selection.tokens is None else {}
        steps = max(self._steps.values(), key=len, default=())
        return Activations(tensors, axes, TowerMaps(plan.tower_of, later), tuple(steps))

    def calls(self, at: str | Site) -> list[torch.Tensor]:
        """What a site showed at each fire, in order; for shapes that change, as while generating."""
        site = Site.parse(at)
        if site not in self._plan.axes:
            known = [str(known) for known in self._plan.sites]
            raise SteerlabError(
                f"{site} is not read here{nearest(str(site), known)} (read: {listing(known)})"
            )
        value = self._values[self._plan.sites.index(site)] if self._values else _MISSING
        if value is _MISSING:
            return []
        return list(value) if isinstance(value, list) else [value]

    def tokens(self, tower: str) -> TokenMap | None:
        """What the tokens of a tower's last forward were."""
        if tower not in self._later:
            raise SteerlabError(
                f"nothing of {tower or 'the model'} was read here{nearest(tower, self._later)}"
            )
        return self._later[tower]()

    def _refuse_missing(self) -> None:
        values = self._values or self._plan.nothing
        missing = [site for site, value in zip(self._plan.sites, values, strict=True) if value is _MISSING]
        raise SteerlabError(f"{listing(missing)}: never ran in this forward")

    def _describe(self) -> None:
        for prefix in self._plan.towers:
            if prefix in self._clock.towers:
                self._later[prefix] = self._clock.tokens_later(prefix)

    def _store(self, index: int, site: Site, point: Point) -> Callable[[torch.Tensor], Any]:
        many = self._every or point.fires != 1
        heads, values, reduce = self._plan.heads[index], self._values, self._selection.reduce
        axis = point.axes.index("head") if heads is not None else 0

        def store(x: torch.Tensor) -> None:
            kept = x
            if heads is not None:
                kept = (
                    x.select(axis, heads) if isinstance(heads, int) else x[(slice(None),) * axis + (heads,)]
                )
            kept = self._kept(site, point, kept)
            if kept is None:
                return
            if kept is x and point.volatile:
                kept = x.clone()
            if reduce is not None:
                values[index] = reduce(None if values[index] is _MISSING else values[index], kept)
            elif not many:
                values[index] = kept
            elif values[index] is _MISSING:
                values[index] = [kept]
            else:
                values[index].append(kept)

        return store

    def _kept(self, site: Site, point: Point, x: torch.Tensor) -> torch.Tensor | None:
        """What the selection takes of one fire; None where it is not the time."""
        selection, axes = self._selection, self._plan.axes[site]
        if self._clock.tells_time and point.tower in self._clock.towers:
            moment = self._clock.moment(point.tower)
            scope = selection.scope
            if not self._clock.run.denoises(point.tower):  # prompts are read before the steps
                scope = replace(scope, steps=None)
            if not scope.strength_at(moment):
                return None
            branches = moment.branches or ()
            if len(branches) > 1 and selection.scope.branch in branches:
                part = branches.index(selection.scope.branch)
                x = x.chunk(len(branches))[part]
            if moment.step is not None:
                self._steps.setdefault(site, []).append(moment.step)
        if selection.tokens is not None:
            if "token" not in axes:
                raise SteerlabError(f"{site} has no token axis to choose from, only {', '.join(axes)}")
            axis = axes.index("token")
            tokens = self._clock.moment(point.tower).tokens if point.tower in self._clock.towers else None
            tokens = tokens or TokenMap(x.shape[axis])
            chosen = tokens.select(selection.tokens)
            if chosen.shape[1] != x.shape[axis]:
                raise SteerlabError(f"{site} has {x.shape[axis]} tokens, the inputs have {chosen.shape[1]}")
            x = chosen_tokens(x, axis, chosen, f"{site}: tokens={selection.tokens!r}")
        x = x if selection.dtype is None else x.to(selection.dtype)
        if x.untyped_storage().nbytes() > x.numel() * x.element_size():
            x = x.clone()  # at once, so that the larger tensor can go
        return x


def capture(
    reading: Reading, run: Callable[..., Any], kwargs: Mapping[str, Any], *, stop_after: int
) -> Activations:
    """Run once without gradients and return what was read; `stop_after` reads end the forward, 0 never."""
    reading.start(taps.Countdown(stop_after) if stop_after else None)
    try:
        with torch.no_grad():
            run(**kwargs)
    except taps.Stop:
        pass
    finally:
        reading.stop()
    return reading.activations()


def _stacked(site: Site, values: list[torch.Tensor]) -> torch.Tensor:
    shapes = {tuple(value.shape) for value in values}
    if len(shapes) > 1:
        raise SteerlabError(
            f"{site} fired with different shapes: {listing(sorted(shapes))}; "
            f"read them by calls({str(site)!r})"
        )
    return torch.stack(values)
