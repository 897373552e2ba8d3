"""Which model an intervention was made on: its kind, the shapes at its sites, a sample of the weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.points import Points
from steerlab.sites import Site

SAMPLED = 8
TOLERANCE = 0.02  # other precisions and light finetunings stay within it, other checkpoints do not


@dataclass(frozen=True)
class Fingerprint:
    """What must be alike for an edit to mean the same.

    Parameters
    ----------
    model : str
        Class of the model.
    sites : mapping
        Every edited site, concretely, with the sizes of its last axes (heads and width).
    weights : mapping
        Mean magnitude of a few parameters by name.
    """

    model: str
    sites: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, float]

    def check(self, points: Points) -> None:
        """Refuse a model whose sites differ, and warn of one whose weights do."""
        if points.title != self.model:
            raise SteerlabError(
                f"this intervention was made on {self.model}, and this is {points.title}; "
                "to use it here all the same, give its edits as a plain dict: dict(intervention)"
            )
        for at, sizes in self.sites.items():
            found = [_sizes(point.shape) for _, point in points.find(at)]
            if found != [tuple(sizes)]:
                here = found[0] if found else "nothing"
                raise SteerlabError(
                    f"{at}: the intervention needs sizes {list(sizes)}, {points.title} has {list(here)} there"
                )
        here = _sample(points.model, self.weights)
        others = [n for n, value in self.weights.items() if not _alike(value, here.get(n))]
        if others:
            warnings.warn(
                f"this intervention was made on other weights of {self.model} ({others[0]} differs); "
                "its effect may not be the same",
                SteerlabWarning,
                stacklevel=2,
            )


def fingerprint(points: Points, sites: Iterable[str | Site]) -> Fingerprint:
    """What identifies the model at the sites that are edited."""
    found = {str(site.whole): _sizes(point.shape) for at in sites for site, point in points.find(at)}
    names = [name for name, p in points.model.named_parameters() if p.is_floating_point() and not p.is_meta]
    chosen = names[:: max(1, len(names) // SAMPLED)][:SAMPLED]
    return Fingerprint(points.title, found, _sample(points.model, chosen))


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Head and width axes; those of rows and tokens depend on the inputs."""
    return tuple(shape[-1:]) if len(shape) <= 3 else tuple(shape[-2:])


def _sample(model: torch.nn.Module, names: Iterable[str]) -> dict[str, float]:
    known = dict(model.named_parameters())
    there = [name for name in names if name in known and not known[name].is_meta]
    return {name: float(known[name].detach().float().abs().mean()) for name in there}


def _alike(value: float, here: float | None) -> bool:
    return here is None or abs(value - here) <= TOLERANCE * max(abs(value), 1e-12)
