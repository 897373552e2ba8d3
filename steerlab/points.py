"""Points: for each site of a model, the module where it is found and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.layouts import AXES, PLAIN_AXES, Layout
from steerlab.sites import SELECTION, Site

Stash = dict[nn.Module, Any]


@dataclass(frozen=True, eq=False)
class Point:
    """Where one site is found in a model.

    Parameters
    ----------
    site : Site
        The address, without a choice of heads.
    module : nn.Module
        The module to tap.
    side : str
        ``"input"`` or ``"output"`` of the module, or the attention part (``"q"``, ... ``"pattern"``).
    tower : str
        Prefix of the tower, for its token map.
    layout : Layout
        From the raw tensor to the activation.
    anchor : nn.Module, optional
        The module whose input a relative or flat layout needs.
    projected : object, optional
        For scores and patterns outside the attention table: how queries, keys and values are found.
    shape : tuple of int
        Shape of the activation on the proving inputs.
    fires : int
        How often the point fired in the proving forward.
    volatile : bool
        Whether the model writes into the tensor later, or it is a view of a larger one: a read copies it.
    above : tuple of nn.Module
        The modules that contain this one, and itself.
    """

    site: Site
    module: nn.Module
    side: str
    tower: str = ""
    layout: Layout = Layout()
    anchor: nn.Module | None = None
    projected: object | None = None
    shape: tuple[int, ...] = ()
    fires: int = 1
    volatile: bool = False
    above: tuple[nn.Module, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the activation's axes, as many as it has."""
        if not self.site.is_module:
            axes = AXES.get(self.site.stream, PLAIN_AXES)
            axes = ("batch", "dim") if len(self.shape) == 2 else axes  # class logits, norms of pooled tokens
            # the proof runs one row: more of them are frames or places that the model folded into the batch
            return axes if not self.shape or self.shape[0] == 1 else ("batch * fold", *axes[1:])
        return ("batch", *(f"axis {i}" for i in range(1, len(self.shape) - 1)), "dim")[: len(self.shape) or 3]

    @property
    def heads(self) -> int:
        """Number of heads on the head axis; 0 where there is none."""
        return self.shape[self.axes.index("head")] if "head" in self.axes else 0


@dataclass(frozen=True, eq=False)
class Points:
    """All points of a model, found by site; what was refused is kept with its reason."""

    model: nn.Module
    title: str
    known: Mapping[Site, Point]
    refused: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_found", {})

    def find(self, at: str | Site | Iterable[str | Site]) -> tuple[tuple[Site, Point], ...]:
        """Every concrete site that `at` names, in the model's order, with its point."""
        if isinstance(at, (str, Site)):
            cached = self._found.get(at)
            if cached is None:
                cached = self._found[at] = self._find(self._parsed(at), str(at))
            return cached
        if not isinstance(at, Iterable):
            raise SteerlabError(f"at={at!r}: give a site or a list of sites")
        found: dict[Site, Point] = {}
        for one in at:
            found.update(self.find(one))
        if not found:
            raise SteerlabError("at is an empty list: name at least one site")
        return tuple(found.items())

    def _parsed(self, at: str | Site) -> Site:
        """The site; where the text is a path of a module, the error says how that is written."""
        try:
            return Site.parse(at)
        except SteerlabError as fault:
            if at in dict(self.model.named_modules()):
                raise SteerlabError(f"{at!r} is a path of modules; write 'module:{at}'") from None
            raise fault from None

    def _find(self, site: Site, asked: str) -> tuple[tuple[Site, Point], ...]:
        if site.is_module:
            return ((site, self._module_point(site)),)
        points = [point for known, point in self.known.items() if site.matches(known)]
        if not points:
            raise SteerlabError(self._missing(site, asked))
        for point in points:
            site.select(point.heads) if site.heads else None
        return tuple((Site(p.site.place, p.site.stream, site.heads), p) for p in points)

    def _module_point(self, site: Site) -> Point:
        path = site.place.removeprefix("module:")
        modules = dict(self.model.named_modules())
        if path not in modules:
            raise SteerlabError(f"{self.title} has no module {path!r}{nearest(path, modules)}")
        above = modules_above(self.model, path)
        part = path.partition(".")[0]
        tower = part if any(point.tower == part for point in self.known.values()) else ""
        return Point(site, modules[path], site.stream, tower, fires=0, volatile=True, above=above)

    def _missing(self, site: Site, asked: str) -> str:
        for refused, reason in self.refused.items():
            if Site.parse(refused).matches(site) or site.matches(Site.parse(refused)):
                return f"{asked}: refused on {self.title}: {reason}"
        places = {known.place for known in self.known}
        if site.place in places:
            streams = [known.stream for known in self.known if known.place == site.place]
            return (
                f"{asked}: {site.place or self.title} has no {site.stream!r}"
                f"{nearest(site.stream, streams)} (it has: {listing(streams, 24)})"
            )
        parent, _, last = site.place.rpartition(".")
        numbers = sorted(
            {int(p.removeprefix(parent + ".").split(".")[0]) for p in places if _is_child(p, parent)}
        )
        if SELECTION.fullmatch(last) and numbers:
            return (
                f"{asked}: {self.title} has {len(numbers)} {parent.rpartition('.')[2] or 'blocks'} "
                f"({numbers[0]} to {numbers[-1]})"
            )
        known = [str(known) for known in self.known]
        return (
            f"{asked}: no such site in {self.title}{nearest(str(site), known)} (print the model to see them)"
        )


def _is_child(place: str, parent: str) -> bool:
    return place.startswith(parent + ".") and place.removeprefix(parent + ".").split(".")[0].isdigit()


class Tap:
    """One thing to do at one point: change the activation, or store it.

    Parameters
    ----------
    point : Point
        Where.
    change : callable, optional
        From an activation to the new one; returning its argument means no change.
    store : callable, optional
        Called with the activation as it is after every change.
    """

    __slots__ = ("change", "plain", "point", "stash", "store")

    def __init__(
        self,
        point: Point,
        *,
        change: Callable[[torch.Tensor], torch.Tensor] | None = None,
        store: Callable[[torch.Tensor], Any] | None = None,
    ) -> None:
        self.point, self.change, self.store = point, change, store
        self.plain = point.layout.plain
        self.stash: Stash = {}

    def run(self, raw: torch.Tensor) -> torch.Tensor:
        """Act on a raw tensor and return it, or the tensor to put in its place."""
        point = self.point
        anchor = None if point.anchor is None else self.stash[point.anchor]
        x = point.layout.unpack(raw, anchor)
        if self.store is not None:
            self.store(x)
            return raw
        y = self.change(x)
        return raw if y is x else point.layout.pack(raw, anchor, x, y)


def canonical_shape(point: Point, raw: torch.Tensor, anchor: torch.Tensor | None) -> tuple[int, ...]:
    """Shape of the activation in a raw tensor."""
    return tuple(point.layout._view(raw, anchor).shape)


def modules_above(model: nn.Module, path: str) -> tuple[nn.Module, ...]:
    """The modules on the way to a path, the model first, the module at the path last."""
    chain = [model]
    for name in filter(None, path.split(".")):
        chain.append(chain[-1]._modules[name])
    return tuple(chain)
