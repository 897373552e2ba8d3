"""Two passes over the inputs: how long the stream of tokens is, and which neurons speak at long ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.batches import first_rows, in_batches
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.massive import BINS, Lengths
from steerlab.sites import Site
from steerlab.tokens import TokenMap


@dataclass(frozen=True, eq=False)
class Plan:
    """Where to look.

    Parameters
    ----------
    model : Model
        What is asked.
    data : object
        Its inputs.
    probe : str
        Where long tokens are told.
    blocks : tuple of str
        Places of the blocks up to the probe's, ``"blocks.0"`` and so on.
    batch : int
        Inputs that share a forward.
    tokens : TokenMap
        What the tokens are.
    """

    model: Model
    data: Any
    probe: str
    blocks: tuple[str, ...]
    batch: int
    tokens: TokenMap

    @property
    def patches(self) -> slice:
        """Where the patches lie."""
        return slice(*self.tokens.groups.get("patches", (0, self.tokens.count)))

    @property
    def special(self) -> list[int]:
        """The tokens that are no patches."""
        span = self.patches
        return [i for i in range(self.tokens.count) if not span.start <= i < span.stop]


@dataclass(frozen=True, eq=False)
class Neurons:
    """What the neurons of every block do at long and at ordinary patches.

    Attributes
    ----------
    at_long, at_all : Tensor
        Mean magnitude over long patches, and over all, ``[block, neuron]``.
    ordinary : Tensor
        Mean over the other patches, with its sign, ``[block, neuron]``.
    special : Tensor
        Mean of what enters each block at the special tokens, ``[block, special token, dim]``.
    long : Tensor
        Mean of the stream at the probe over long patches, ``[dim]``.
    count : int
        Long patches.
    """

    at_long: torch.Tensor
    at_all: torch.Tensor
    ordinary: torch.Tensor
    special: torch.Tensor
    long: torch.Tensor
    count: int


def described(model: Model, data: Any, at: str) -> TokenMap:
    """The tokens at a site, from one input; models without a grid of patches are refused."""
    tokens = model.capture(first_rows(data, 1), at).map_of(at)
    tokens.patch_grid()
    return tokens


def lengths_of(plan: Plan, sites: list[Site]) -> tuple[list[Lengths], torch.Tensor]:
    """Histograms of the lengths of patches at some sites, and mean lengths of special tokens.

    Returns
    -------
    histograms, special : list of Lengths, Tensor
        One a site; ``[site, special token]``.
    """
    at, special = [str(site) for site in sites], plan.special
    counts = torch.zeros(len(at), BINS, dtype=torch.long)
    sums, rows = torch.zeros(len(at), len(special), dtype=torch.float64), 0

    def one(batch: Any) -> torch.Tensor:
        acts = plan.model.capture(batch, at)
        norms = [acts[site].float().norm(dim=-1).cpu() for site in at]
        found = torch.stack([Lengths.of(norm[:, plan.patches]).counts for norm in norms]).double()
        others = torch.stack([norm[:, special].double().sum(0) for norm in norms])
        return torch.cat([found, others, torch.full((len(at), 1), float(len(norms[0])))], 1)

    for number, batch in enumerate(in_batches(plan.data, plan.batch)):
        part = kept(f"Registers lengths {number} {at}", lambda batch=batch: one(batch))
        counts += part[:, :BINS].long()
        sums += part[:, BINS:-1]
        rows += int(part[0, -1])
    return [Lengths(count) for count in counts], sums / rows


def neurons_of(plan: Plan, above: float) -> Neurons:
    """Mean magnitudes of every MLP neuron at patches longer than `above` at the probe, and at the others.

    The score of arXiv 2506.08010: the mean of ``|activation|`` over long tokens of all inputs.
    """
    acting = [f"{block}.mlp.act" for block in plan.blocks]
    entering = [f"{block}.resid_pre" for block in plan.blocks]
    special = plan.special

    def one(batch: Any) -> torch.Tensor:
        acts = plan.model.capture(batch, [plan.probe, *acting, *entering])
        stream = acts[plan.probe][:, plan.patches].float()
        long = stream.norm(dim=-1) > above
        spoken = torch.stack([acts[site][:, plan.patches].float() for site in acting])
        size, weight = spoken.abs(), long.float()[None, ..., None]
        parts = [
            (size * weight).sum((1, 2)),
            size.sum((1, 2)),
            (spoken * (1 - weight)).sum((1, 2)),
            torch.stack([acts[site][:, special].float().sum(0) for site in entering]),
            stream[long].sum(0),
            torch.tensor([long.sum(), long.numel(), len(stream)], device=stream.device),
        ]
        return torch.cat([part.double().flatten().cpu() for part in parts])

    total = None
    for number, batch in enumerate(in_batches(plan.data, plan.batch)):
        part = kept(f"Registers neurons {number} {plan.probe} {above!r}", lambda batch=batch: one(batch))
        total = part if total is None else total + part
    return _unpacked(plan, total)


def _unpacked(plan: Plan, total: torch.Tensor) -> Neurons:
    """The sums of all batches as means."""
    blocks, special = len(plan.blocks), len(plan.special)
    width = plan.model.capture(first_rows(plan.data, 1), plan.probe)[plan.probe].shape[-1]
    neurons = (len(total) - 3 - width - blocks * special * width) // (3 * blocks)
    sizes = [blocks * neurons] * 3 + [blocks * special * width, width, 3]
    at_long, at_all, ordinary, others, long, counts = total.split(sizes)
    some, patches, rows = (float(count) for count in counts)
    shape = (blocks, neurons)
    return Neurons(
        (at_long / max(some, 1)).view(shape),
        (at_all / patches).view(shape),
        (ordinary / max(patches - some, 1)).view(shape),
        (others / rows).view(blocks, special, width),
        long / max(some, 1),
        int(some),
    )
