"""A sample of activations with the input each is from and what is known of it, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.batches import in_batches
from steerlab.analyzers.blocks.factors import Factor
from steerlab.atoms.stream import captured, usual_tokens
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenChoice


@dataclass(frozen=True, eq=False)
class Sample:
    """Activations of a site and of a later one at the same tokens.

    Parameters
    ----------
    rows, later : Tensor
        ``[row, dim]``; `later` is empty where no other site is read.
    inputs : Tensor
        Which input each row is from, ``[row]``.
    values : Tensor
        What is known of it, ``[row]``; nan where nothing is.
    drawn : Tensor
        Rows of the even draw, boolean; the others are there because something is known of them.
    """

    rows: torch.Tensor
    later: torch.Tensor
    inputs: torch.Tensor
    values: torch.Tensor
    drawn: torch.Tensor

    def where(self, mask: torch.Tensor) -> Sample:
        """Some rows."""
        parts = (self.rows, self.later, self.inputs, self.values, self.drawn)
        return Sample(*(part[mask] for part in parts))

    def halves(self) -> tuple[Sample, Sample]:
        """Rows of even inputs, to fit on, and rows of odd ones, which are held out."""
        odd = self.inputs % 2 == 1
        return self.where(~odd), self.where(odd)

    def known(self) -> Sample:
        """Rows of which something is known."""
        return self.where(~self.values.isnan())


def choice_of(acts: Activations, site: Site, tokens: TokenChoice | None) -> TokenChoice | None:
    """Which tokens are looked at: the ones asked for, else patches, else what is usual."""
    described = acts.maps.get(site)
    if tokens is not None or described is None:
        return tokens
    token_map = acts.map_of(site)
    return "patches" if "patches" in token_map.groups else usual_tokens(token_map)


def looked_at(acts: Activations, site: Site, tokens: TokenChoice | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows ``[entry, dim]`` of the tokens looked at, and the input of each, ``[entry]``."""
    x, axes = acts[site].float(), acts.axes[site]
    keep = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    choice = choice_of(acts, site, tokens)
    if choice is not None:
        keep = keep & acts.map_of(site).select(choice).to(x.device)
    axis = axes.index("batch")
    numbers = torch.arange(x.shape[axis], device=x.device)
    inputs = numbers.view([-1 if i == axis else 1 for i in range(keep.ndim)]).expand(keep.shape)
    return x[keep].cpu(), inputs[keep].cpu()


def chosen(data: Any, numbers: Sequence[int]) -> Any:
    """Some of the inputs."""
    return data[list(numbers)] if isinstance(data, torch.Tensor) else [data[i] for i in numbers]


def gathered(
    model: Model,
    data: Any,
    sites: tuple[Site, Site | None],
    *,
    factor: Factor | None,
    ask: Any,
) -> Sample:
    """An even draw of entries of every batch, and besides all those of which something is known.

    Parameters
    ----------
    model, data : Model, object
        What is asked, of what.
    sites : tuple
        The site, and a later one or None.
    factor : Factor, optional
        What is known.
    ask : Blocks
        Its ``rows``, ``batch``, ``tokens`` and ``seed``.
    """
    here, later = sites
    if not isinstance(data, Sized) or isinstance(data, (str, Mapping)):
        raise SteerlabError(f"Blocks: pass a list of inputs or one tensor, not {type(data).__name__}")
    quota = -(-ask.rows * ask.batch // max(len(data), 1))
    parts, first = [], 0
    for number, batch in enumerate(in_batches(data, ask.batch)):

        def one(batch: Any = batch, number: int = number, first: int = first) -> torch.Tensor:
            _, acts = next(iter(captured(model, [batch], [here] if later is None else [here, later])))
            rows, inputs = looked_at(acts, here, ask.tokens)
            other = rows[:, :0] if later is None else looked_at(acts, later, ask.tokens)[0]
            values = torch.full((len(rows),), torch.nan)
            if factor is not None:
                count = int(inputs.max()) + 1
                some = replace(factor, values=factor.values[first : first + count])
                values = some.tokens(len(rows) // count).flatten().float()
            generator = torch.Generator().manual_seed(ask.seed * 100_003 + number)
            drawn = torch.rand(len(rows), generator=generator).argsort().argsort() < quota
            width = torch.full((len(rows),), float(rows.shape[1]))
            extra = torch.stack([(inputs + first).float(), values, drawn.float(), width], 1)
            return torch.cat([rows, other, extra], 1)[drawn | ~values.isnan()]

        parts.append(kept(f"Blocks {number} {ask.at} {ask.readout} {ask.rows} {ask.seed}", one))
        first = int(parts[-1][:, -4].max()) + 1 if not isinstance(batch, Sized) else first + len(batch)
    table = torch.cat(parts)
    dim = int(table[0, -1])
    rows, other, extra = table.split([dim, table.shape[1] - dim - 4, 4], 1)
    return Sample(rows, other, extra[:, 0].long(), extra[:, 1], extra[:, 2] > 0)
