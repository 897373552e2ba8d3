"""Activations read from a forward: chosen before they are stored, and no more forward than needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from steerlab import taps
from steerlab.activations import Activations, chosen_tokens
from steerlab.clock import Clock
from steerlab.errors import SteerlabError, listing
from steerlab.editing import chosen_axes
from steerlab.intervention import refuse_compiled
from steerlab.points import Point
from steerlab.sites import Site
from steerlab.tokens import TokenChoice, TokenMap

Found = tuple[tuple[Site, Point], ...]


@dataclass(frozen=True)
class Selection:
    """What to keep of an activation: some tokens, in some dtype; None keeps all."""

    tokens: TokenChoice | None = None
    dtype: torch.dtype | None = None

    @property
    def everything(self) -> bool:
        """Whether activations are kept as they are."""
        return self.tokens is None and self.dtype is None


class Reading:
    """A context that reads sites in every forward, the user's own calls included.

    Inside the context or after it, `activations()` gives what the last forward showed. Where a site fires
    several times (generation, denoising), ``every=True`` keeps all of them.
    """

    def __init__(self, found: Found, clock: Clock, selection: Selection, *, every: bool = False) -> None:
        refuse_compiled(found)
        self._found, self._clock, self._selection, self._every = found, clock, selection, every
        self._values: dict[Site, Any] = {}
        self._maps: dict[str, TokenMap | None] = {}
        self._installed: taps.Installed | None = None

    def start(self, countdown: taps.Countdown | None = None) -> None:
        """Put the taps on; `countdown` ends the forward after the last read."""
        self._values = {}
        self._installed = taps.install([taps.Tap(p, store=self._store(s, p)) for s, p in self._found], countdown)
        try:
            for prefix in dict.fromkeys(point.tower for _, point in self._found):
                if prefix in self._clock.towers:
                    self._installed.keep(self._clock.listen(prefix))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take the taps off; the activations stay."""
        installed, self._installed = self._installed, None
        if installed is not None:
            self._describe()
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
        missing = [str(site) for site, _ in self._found if site not in self._values]
        if missing:
            raise SteerlabError(f"{listing(missing)}: never ran in this forward")
        values, axes, maps = {}, {}, {}
        for site, point in self._found:
            value, names = self._values[site], point.axes
            if site.heads:
                names, _ = chosen_axes(names, site.select(point.heads))
            if isinstance(value, list):
                value, names = (value[0], names) if len(value) == 1 else (_stacked(site, value), ("call", *names))
            if value.untyped_storage().nbytes() > value.numel() * value.element_size():
                value = value.clone()  # a view would keep a larger tensor alive
            values[site], axes[site] = value, names
            maps[site] = self._maps.get(point.tower) if self._selection.tokens is None else None
        return Activations(values, axes, maps)

    def _describe(self) -> None:
        for prefix in dict.fromkeys(point.tower for _, point in self._found):
            if prefix in self._clock.towers:
                self._maps[prefix] = self._clock.moment(prefix).tokens

    def _store(self, site: Site, point: Point) -> Callable[[torch.Tensor], Any]:
        many = self._every or point.fires != 1
        if self._selection.everything and not site.heads and not point.volatile and not many:
            return partial(self._values.__setitem__, site)
        heads = site.select(point.heads) if site.heads else None
        axis = point.axes.index("head") if heads is not None else 0

        def store(x: torch.Tensor) -> None:
            if heads is not None:
                x = x.select(axis, heads) if isinstance(heads, int) else x[(slice(None),) * axis + (heads,)]
            kept = self._kept(site, point, x, heads)
            if kept is x and (point.volatile or heads is not None):
                kept = x.clone()
            if many:
                self._values.setdefault(site, []).append(kept)
            else:
                self._values[site] = kept

        return store

    def _kept(self, site: Site, point: Point, x: torch.Tensor, heads: Any) -> torch.Tensor:
        selection = self._selection
        if selection.tokens is not None:
            axes, _ = chosen_axes(point.axes, heads)
            if "token" not in axes:
                raise SteerlabError(f"{site} has no token axis to choose from, only {', '.join(axes)}")
            axis = axes.index("token")
            tokens = self._clock.moment(point.tower).tokens if point.tower in self._clock.towers else None
            tokens = tokens or TokenMap(x.shape[axis])
            chosen = tokens.select(selection.tokens)
            if chosen.shape[1] != x.shape[axis]:
                raise SteerlabError(f"{site} has {x.shape[axis]} tokens, the inputs have {chosen.shape[1]}")
            x = chosen_tokens(x, axis, chosen, f"{site}: tokens={selection.tokens!r}")
        return x if selection.dtype is None else x.to(selection.dtype)


def capture(reading: Reading, run: Callable[..., Any], kwargs: Mapping[str, Any], *, stop_after: int) -> Activations:
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
        raise SteerlabError(f"{site} fired with different shapes: {listing(sorted(shapes))}; read one call at a time")
    return torch.stack(values)
