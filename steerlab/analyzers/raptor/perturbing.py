"""Turned a little, does a state come back? Angles through depth, beside updates of other inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.raptor.replacing import Probe
from steerlab.edits import Fn
from steerlab.keeping import kept
from steerlab.numerics.spheres import angle, tangent_step
from steerlab.report import Table
from steerlab.surrogates.teacher import paths


def perturbed(probe: Probe, sizes: Sequence[float], *, blocks: Sequence[int], seed: int) -> Table:
    """Angles between perturbed and plain states at every later layer, a row a block, group, size and layer.

    ``x' = x + size |x| v`` at the output of a block, with a random unit ``v`` tangent to ``x``, at all tokens
    of one group. In the column ``control`` both states take the updates of *another* input from there on, so
    that an angle which shrinks only because long vectors are added to both shrinks there as well. The
    protocol of arXiv 2512.19941 could not be read: this one, and its control, are our own definition.
    """
    model, at = probe.model, probe.at
    count = len(model.sites(f"{at}.*.resid"))
    read = paths(model, at, (0, count))
    base = read(probe.inputs)
    columns = ("block", "tokens", "size", "layer", "angle", "control")
    rows: dict[str, list] = {name: [] for name in columns}
    plans = [(b, g, s) for b in blocks for g in base.groups for s in sizes]
    for block, group, size in tqdm(plans, desc="perturbing", disable=None, leave=False):
        tokens = base.groups[group]

        def angles(block=block, tokens=tokens, size=size) -> torch.Tensor:
            def turned(x: torch.Tensor) -> torch.Tensor:
                generator = torch.Generator().manual_seed(seed)
                x[:, tokens] = tangent_step(x[:, tokens], size, generator)
                return x

            with model.edit({f"{at}.{block}.resid": Fn(turned)}):
                moved = read(probe.inputs).states
            own = angle(moved[block + 1 :, :, tokens], base.states[block + 1 :, :, tokens])
            start, other = base.states[block + 1], moved[block + 1]
            updates = base.states[block + 1 :].diff(dim=0).roll(1, dims=1).cumsum(0)
            paired = angle((other + updates)[:, :, tokens], (start + updates)[:, :, tokens])
            control = torch.cat([own[:1], paired])
            return torch.stack([one.double().mean((1, 2)) for one in (own, control)])

        own, control = kept(f"perturbing {block} {group} {size}", angles)
        for step in range(len(own)):
            for name, value in zip(
                columns,
                (block, group, size, block + 1 + step, float(own[step]), float(control[step])),
                strict=True,
            ):
                rows[name].append(value)
    return {name: values if name == "tokens" else torch.tensor(values) for name, values in rows.items()}


def ratios(table: Table) -> Table:
    """``rho = angle at the last layer / angle at the first``, a row a perturbation; below 1 it contracts."""
    last = int(table["layer"].max())
    columns = ("block", "tokens", "size", "rho", "control rho")
    rows: dict[str, list] = {name: [] for name in columns}
    starts: dict[tuple, tuple[float, float]] = {}
    for block, tokens, size, layer, own, control in zip(
        *(table[n] for n in ("block", "tokens", "size", "layer", "angle", "control")), strict=True
    ):
        key = (int(block), tokens, float(size))
        starts.setdefault(key, (float(own), float(control)))
        if int(layer) == last:
            first = starts[key]
            values = (*key, float(own) / first[0], float(control) / first[1])
            for name, value in zip(columns, values, strict=True):
                rows[name].append(value)
    return {name: values if name == "tokens" else torch.tensor(values) for name, values in rows.items()}
