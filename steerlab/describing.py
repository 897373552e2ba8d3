"""What a person wants to see of a model: its sites as a tree, what is refused, and a diagnosis."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from steerlab.errors import SteerlabError, listing
from steerlab.families import Family
from steerlab.foreign import runs_on
from steerlab.points import Points
from steerlab.sites import STREAMS, Site
from steerlab.taps import hooks_on


class Places:
    """A place on the way to a site, for ``model.blocks[3].heads[7]`` and ``model.vision.blocks[8].resid``."""

    def __init__(self, place: str, points: Points) -> None:
        self._place, self._points = place, points

    def __getitem__(self, number: int) -> Places | Site:
        if not isinstance(number, int):
            raise SteerlabError(
                f"{self._place}[{number!r}]: give one number; for several sites('{self._place}.0:2.<stream>')"
            )
        place = f"{self._place}.{number}"
        if not any(
            known.place == place or known.place.startswith(place + ".") for known in self._points.known
        ):
            self._points.find(f"{place}.resid")  # its error says which numbers there are
        return self._step(place)

    def __getattr__(self, name: str) -> Places | Site:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._step(f"{self._place}.{name}")

    def _step(self, text: str) -> Places | Site:
        places = [known.place for known in self._points.known]
        if any(place == text or place.startswith(text + ".") for place in places):
            return Places(text, self._points)
        found = self._points.find(text)
        return _Choosable(found[0][0].place, found[0][0].stream, found[0][0].heads)

    def __repr__(self) -> str:
        inside = [str(known) for known in self._points.known if str(known).startswith(self._place + ".")]
        return f"{self._place}: {listing(inside, 24)}"


class _Choosable(Site):
    """A site whose heads can be chosen by brackets."""

    def __getitem__(self, heads: int | slice | tuple[int, ...]) -> Site:
        if isinstance(heads, slice):
            heads = ":".join("" if edge is None else str(edge) for edge in (heads.start, heads.stop))
        elif isinstance(heads, (tuple, list)):
            heads = ",".join(str(head) for head in heads)
        return Site.parse(f"{self.place}.{self.stream}.{heads}")


# a chosen site equals the same site written as text
_Choosable.__hash__ = Site.__hash__
_Choosable.__eq__ = lambda self, other: isinstance(other, Site) and str(self) == str(other)


@dataclass(frozen=True)
class Diagnosis:
    """How well a model is covered and what stands in the way.

    Attributes
    ----------
    model, family : str
        Names.
    sites : int
        How many sites were proved.
    refused : dict
        Site -> reason.
    hooks : dict
        Module path -> names of hooks that somebody registered there.
    runs : list of str
        Compilation, quantisation, offload, attention, dtypes and devices.
    """

    model: str
    family: str
    sites: int
    refused: dict[str, str]
    hooks: dict[str, list[str]]
    runs: list[str]

    def __str__(self) -> str:
        lines = [f"{self.model}: family {self.family}, {self.sites} sites proved"]
        lines += [f"  {fact}" for fact in self.runs]
        for reason, sites in _by_reason(self.refused).items():
            lines.append(f"  refused {', '.join(sites)}: {reason}")
        for path, names in self.hooks.items():
            lines.append(f"  hooked {path or 'the model'}: {listing(names, 4)}")
        return "\n".join(lines)


def diagnose(model: Any, family: Family, points: Points) -> Diagnosis:
    """Look a model over; nothing is run."""
    modules = dict(points.model.named_modules())
    hooks = {path: names for path, module in modules.items() if (names := hooks_on(module))}
    parts = [model] if isinstance(model, nn.Module) else list(points.model.children())
    runs = list(dict.fromkeys(fact for part in parts for fact in runs_on(part)))
    return Diagnosis(points.title, family.name, len(points.known), dict(points.refused), hooks, runs)


def tree(model: Any, family: Family, points: Points) -> str:
    """The model's sites with their shapes, alike blocks folded into one line."""
    title = f"{points.title}, family {family.name}"
    if not points.known:
        paths = [path for path, _ in points.model.named_modules() if path]
        return f"{title}: sites by path, module:<path>, such as {listing(paths, 6)}"
    places: dict[str, dict[str, str]] = {}
    for site, point in points.known.items():
        shape = ", ".join(f"{axis} {size}" for axis, size in zip(point.axes, point.shape, strict=False))
        places.setdefault(site.place, {})[site.stream] = shape
    alike: dict[tuple, list[str]] = {}
    for place, streams in places.items():
        rows = tuple((stream, streams[stream]) for stream in STREAMS if stream in streams)
        alike.setdefault(rows, []).append(place)
    lines = [f"{title}; shapes on the proving inputs"]
    for rows, members in alike.items():
        lines.append("  " + ", ".join(place or "(the model)" for place in fold(members)))
        by_shape: dict[str, list[str]] = {}
        for stream, shape in rows:
            by_shape.setdefault(shape, []).append(stream)
        lines += [f"    {', '.join(streams):42} [{shape}]" for shape, streams in by_shape.items()]
    if points.refused:
        lines.append(f"  refused: {len(points.refused)} sites; doctor() says why")
    return "\n".join(lines)


def fold(places: Iterable[str]) -> list[str]:
    """Names that differ in their last number, folded: ``blocks.0 ... blocks.11`` -> ``blocks.0-11``."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place in places:
        match = re.fullmatch(r"(.*\.|)(\d+)((?:\.[a-z_]+)?)", place)
        groups.setdefault((match[1], match[3]) if match else (place, ""), []).append(
            int(match[2]) if match else -1
        )
    names = []
    for (head, tail), numbers in groups.items():
        if numbers == [-1] * len(numbers):
            names.append(head)
            continue
        whole = numbers == list(range(numbers[0], numbers[0] + len(numbers))) and len(numbers) > 1
        spans = [f"{numbers[0]}-{numbers[-1]}"] if whole else [str(number) for number in numbers]
        names += [f"{head}{span}{tail}" for span in spans]
    return names


def _by_reason(refused: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, dict[str, None]] = {}
    for site, reason in refused.items():
        reason = re.sub(r"by [\d.e+-]+", "by a measured error", reason)
        reasons.setdefault(reason, {})[re.sub(r"\.\d+", ".*", site)] = None
    return {reason: list(sites) for reason, sites in reasons.items()}
