"""Radius: how far over the picture attention must reach for an output to become what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.batches import first_rows, in_batches
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.bases.base import Basis
from steerlab.edits import Mask
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report
from steerlab.sites import Site
from steerlab.store import made_on
from steerlab.tokens import TokenChoice, TokenMap

STEPS = (0, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
HALF = 0.5


@dataclass(frozen=True)
class Radius(Analyzer):
    """Limit the attention of all blocks to a radius on the patch grid, and watch an output as it grows.

    The change at radius ``r`` is ``d(r) = mean |o_r - o| / |o|``, with `o` the output under whole attention;
    its integrated share ``1 - d(r) / d(r_0)`` is 0 at the smallest radius and 1 with whole attention, and the
    half radius is where it passes one half (between two radii on a straight line). Random masks in which
    every patch sees as many patches, itself among them, are the control: where they change the output less,
    it depends on what is far away, and not on how much is seen. All of this is our own definition.

    Parameters
    ----------
    at : str
        What is read: a site of the stream, ``"logits"`` or ``"pooled"``.
    tokens : optional
        Tokens of it, as in a scope; by default all patches. Every token is compared with itself.
    pooled : bool
        Compare the mean over these tokens instead.
    readout : Basis, optional
        Compare coordinates instead: a probe as ``Direction(w)``. The change is then in their own unit.
    radii : list of float, optional
        In patches; by default from 0, itself alone, to the longest distance on the grid.
    relay : bool
        Whether patches see the class token and registers, which see everything: a detour of any length.
    where : str
        Scores of the blocks whose attention is limited.
    controls, batch : int
        Random masks a radius; inputs that share a forward.
    """

    at: str = "final"
    tokens: TokenChoice | None = None
    pooled: bool = False
    readout: Any = None
    radii: Sequence[float] | None = None
    relay: bool = True
    where: str = "blocks.*.scores"
    controls: int = 2
    batch: int = 8

    def __post_init__(self) -> None:
        check_whole(self, "controls", "batch")
        if self.radii is not None:
            some = self.radii if isinstance(self.radii, (list, tuple)) else []
            if len(some) < 2 or not all(is_number(r) and r >= 0 for r in some):
                raise SteerlabError(f"Radius: radii={self.radii!r}; give two numbers of 0 or more, or more")
        if self.readout is not None and not isinstance(self.readout, Basis):
            raise SteerlabError(f"Radius: readout={self.readout!r} is no basis; write Direction(vector)")

    def __call__(self, model: Model, data: Any) -> Report:
        """Table ``profile``: a row a radius, the last with whole attention."""
        tokens = self._tokens_of(model, data)
        radii = self._radii_of(tokens)
        masks = [limited(tokens, radius, self.relay) for radius in radii]
        arms = [None, *masks]
        arms += [scattered(tokens, mask, seed) for seed in range(self.controls) for mask in masks]
        sums = torch.zeros(len(arms), 3, dtype=torch.float64)
        count = 0
        for number, batch in enumerate(in_batches(data, self.batch)):
            found = kept(f"Radius {number} {self}", lambda batch=batch: self._changes(model, batch, arms))
            changes, values = found
            sums += torch.stack([changes.sum(1), changes.square().sum(1), values.sum(1)], 1)
            count += changes.shape[1]
        mean = sums[:, 0] / count
        error = ((sums[:, 1] / count - mean.square()).clamp_min(0) / max(1, count - 1)).sqrt()
        own, others = mean[1 : len(radii) + 1], mean[len(radii) + 1 :].view(self.controls, -1)
        share = 1 - mean / own[0]
        reached = half_radius(torch.tensor(radii), 1 - own / own[0])
        step = int((1 - own / own[0] >= HALF).long().argmax())
        shares = torch.cat([share[1 : len(radii) + 1], share.new_ones(1)])
        table = {
            "radius": torch.tensor([*radii, _farthest(tokens)]),
            "attention": [*(f"radius {r:g}" for r in radii), "whole"],
            "patches seen": torch.tensor([*(_seen(tokens, mask) for mask in masks), _patches(tokens) * 1.0]),
            "change": torch.cat([own, mean[:1]]),
            "change low": torch.cat([own - 2 * error[1 : len(radii) + 1], mean[:1]]),
            "change high": torch.cat([own + 2 * error[1 : len(radii) + 1], mean[:1]]),
            "integrated": shares,
            "output": (sums[:, 2] / count)[[*range(1, len(radii) + 1), 0]],
        }
        for seed in range(self.controls):
            table[f"change random {seed}"] = torch.cat([others[seed], mean[:1]])
        said = f"{self.at}" + ("" if self.readout is None else f" in {self.readout!r}")
        unit = "relative change of the output" if self.readout is None else "change of the readout"
        return Report(
            title=f"How far attention reaches for {said}",
            about=f"Attention of {self.where} limited to a radius, over {count} inputs; half of the change "
            f"from radius {radii[0]:g} to whole attention is reached at {reached:.2f} patches.",
            tables={"profile": table},
            plots={
                "profile": Plot(
                    "lines",
                    "profile",
                    f"Change of {said} under limited attention",
                    {
                        "x": "radius",
                        "y": "change",
                        "x label": "radius (patches)",
                        "y label": unit,
                        "x reference": f"{reached:.4g}",
                        "x reference label": "half",
                    },
                )
            },
            interventions={
                f"attention within radius {radius:g}": made_on(
                    model, {self.where: mask}, f"patches see patches at most {radius:g} away"
                )
                for radius, mask in zip(radii, masks, strict=True)
            },
            evidence=(
                Evidence(
                    f"attention within {radii[step]:g} patches of {table['radius'][-1]:.3g} "
                    "(controls: random masks in which patches see as many)",
                    "intervened",
                    float(own[step]),
                    tuple(others[:, step].tolist()),
                    unit=unit,
                ),
                Evidence("half of the change is reached", "observed", reached, unit="patches"),
            ),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Whole attention, every radius and its random masks."""
        radii = self.radii or self._radii_of(self._tokens_of(model, data))
        return len(data) * (1 + len(radii) * (1 + self.controls))

    def _changes(self, model: Model, batch: Any, arms: Sequence[Mask | None]) -> torch.Tensor:
        """How far the output is from that of the first arm, and what it is, ``[2, arm, row]``.

        It is its length, or the coordinate of a readout that has one.
        """
        outputs = []
        for mask in arms:
            if mask is None:
                outputs.append(self._output(model.capture(batch, self.at)))
                continue
            with model.edit({self.where: mask}, strict=False):  # a radius may leave out nothing
                outputs.append(self._output(model.capture(batch, self.at)))
        whole = outputs[0]
        size = whole.norm(dim=-1).clamp_min(1e-12) if self.readout is None else 1.0
        changes = [((one - whole).norm(dim=-1) / size).mean(1) for one in outputs]
        single = self.readout is not None and whole.shape[-1] == 1
        values = [(one[..., 0] if single else one.norm(dim=-1)).mean(1) for one in outputs]
        return torch.stack([torch.stack(changes), torch.stack(values)])

    def _output(self, acts: Activations) -> torch.Tensor:
        """What is compared, ``[row, token, dim]`` in float64."""
        (site,) = acts
        x = acts[site].double()
        if "token" in acts.axes[Site.parse(site)]:
            tokens = acts.map_of(site)
            choice = "patches" if self.tokens is None and "patches" in tokens.groups else self.tokens
            x = (acts if choice is None else acts.tokens(choice))[site].double()
            x = x.mean(1, keepdim=True) if self.pooled else x
        else:
            x = x.flatten(1)[:, None]
        return x if self.readout is None else self.readout.encode(x.float()).double()

    def _tokens_of(self, model: Model, data: Any) -> TokenMap:
        """The tokens of the blocks, from one input."""
        one = first_rows(data, 1)
        site = model.sites(self.where)[0]
        acts = model.capture(one, f"{site.place}.resid_pre")
        tokens = acts.map_of(next(iter(acts)))
        tokens.patch_grid()
        return tokens

    def _radii_of(self, tokens: TokenMap) -> list[float]:
        if self.radii is not None:
            return sorted(float(r) for r in self.radii)
        return [float(r) for r in STEPS if r < _farthest(tokens)]


def limited(tokens: TokenMap, radius: float, relay: bool) -> Mask:
    """`Mask.radius`; without `relay` patches do not see the special tokens, which still see everything."""
    mask = Mask.radius(tokens, radius)
    if relay:
        return mask
    start, stop = tokens.groups.get("patches", (0, tokens.count))
    keep = mask.keep.clone()
    keep[start:stop, :start] = False
    keep[start:stop, stop:] = False
    return Mask(keep)


def scattered(tokens: TokenMap, mask: Mask, seed: int) -> Mask:
    """A mask in which every patch sees as many patches as in another, itself and random ones."""
    start, stop = tokens.groups.get("patches", (0, tokens.count))
    near, keep = mask.keep[start:stop, start:stop], mask.keep.clone()
    chance = torch.rand(near.shape, generator=torch.Generator().manual_seed(seed))
    chance.fill_diagonal_(2.0)  # itself first
    rank = chance.argsort(1, descending=True).argsort(1)
    keep[start:stop, start:stop] = rank < near.sum(1, keepdim=True)
    return Mask(keep)


def half_radius(radii: torch.Tensor, shares: torch.Tensor) -> float:
    """Where the integrated share ``[radius]`` first passes one half, on a straight line; inf where never."""
    over = (shares >= HALF).nonzero()[:, 0]
    if not len(over):
        return math.inf
    place = int(over[0])
    if place == 0:
        return float(radii[0])
    low, high = float(shares[place - 1]), float(shares[place])
    return float(radii[place - 1] + (radii[place] - radii[place - 1]) * (HALF - low) / (high - low))


def _farthest(tokens: TokenMap) -> float:
    """The longest distance on the grid of one frame."""
    rows, columns = tokens.patch_grid()[-2:]
    return math.hypot(rows - 1, columns - 1)


def _patches(tokens: TokenMap) -> int:
    return math.prod(tokens.patch_grid())


def _seen(tokens: TokenMap, mask: Mask) -> float:
    """How many patches a patch sees, on average."""
    start, stop = tokens.groups.get("patches", (0, tokens.count))
    return float(mask.keep[start:stop, start:stop].double().sum(1).mean())
