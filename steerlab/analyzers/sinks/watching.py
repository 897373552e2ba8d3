"""The sinks of one batch, block by block as attention happens, from tiles of rows that are let go of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.sinks.parts import Part
from steerlab.analyzers.sinks.projections import Projection
from steerlab.attending import attend
from steerlab.errors import SteerlabError
from steerlab.looks import ROWS, Looks
from steerlab.model import Model
from steerlab.numerics.attention import attention_pattern
from steerlab.numerics.sink_values import projected_norms, sink_ratio, update_shape
from steerlab.numerics.sinks import (
    ColumnSums,
    column_facts,
    counted,
    dominant,
    first_token_strength,
    looks_causal,
    no_sums,
    queries_of,
    virtual_mass,
)
from steerlab.sites import Site

PLACES = ("sink_idx", "sink_type")  # whole numbers
FIELDS = (
    *PLACES,
    *("mass", "least", "subset_mass", "first_strength", "virtual_mass"),
    *("ratio_out", "ratio_head", "sink_value_norm", "stable_rank", "rank1_energy", "update_norm"),
)
KEYS_AT_ONCE = 64


def fields_of(epsilons: Sequence[float]) -> tuple[str, ...]:
    """Names of what is recorded of an input, a block and a head."""
    return (*FIELDS, *(f"routed {eps:g}" for eps in epsilons))


@dataclass(frozen=True, eq=False)
class Sink:
    """The dominant columns of one block, and what was needed to find them.

    Attributes
    ----------
    sums : ColumnSums
        Over all rows.
    real, queries : Tensor
        What counts, ``[batch, token]``.
    place, mass : Tensor
        ``[batch, head]``.
    column : Tensor
        Attention to the sink, ``[batch, head, query]``.
    on : Tensor
        The queries that count, boolean, the same shape.
    """

    sums: ColumnSums
    real: torch.Tensor
    queries: torch.Tensor
    place: torch.Tensor
    mass: torch.Tensor
    column: torch.Tensor
    on: torch.Tensor


def sink_of(looks: Looks, part: Part) -> Sink:
    """Find the dominant column of every head: one pass over tiles of rows, one over the columns found."""
    if looks.queries != looks.keys:
        raise SteerlabError(f"sinks are of self-attention: {looks.queries} queries meet {looks.keys} keys")
    real = part.real.to(looks.q.device)
    if looks.q.shape[0] != len(real):
        raise SteerlabError(
            f"{len(real)} inputs are {looks.q.shape[0]} rows of this attention; it works on parts of inputs"
        )
    sums = column_sums(looks, real if part.padded else None)
    queries = queries_of(real, sums.causal)
    place, mass = dominant(sums, queries)
    column = _column(looks, place)
    return Sink(sums, real, queries, place, mass, column, counted(place, real, sums.causal))


def column_sums(looks: Looks, real: torch.Tensor | None = None, size: int = ROWS) -> ColumnSums:
    """Sums over the rows of a pattern, of which a tile exists at a time.

    Parameters
    ----------
    looks : Looks
        One attention call.
    real : Tensor, optional
        Boolean ``[batch, query]``; all by default.
    size : int
        Rows of a tile.
    """
    last = looks.queries - 1
    few = {first: looks.rows(first, first + 1) for first in (0, last // 2, max(0, last - 1))}
    causal = all(looks_causal(row, real, first=first) for first, row in few.items())
    sums = no_sums(few[0], causal)
    for start in range(0, looks.queries, size):
        stop = min(start + size, looks.queries)
        for key, tile in _parts(looks, start, stop, causal):
            sums = sums.added(tile, start, real, key=key)
    return sums


def _parts(looks: Looks, start: int, stop: int, causal: bool) -> Iterator[tuple[int, torch.Tensor]]:
    """Rows of the pattern with the number of the first key.

    Of a causal pattern the keys before the rows, which need no mask, come apart from those beside the
    diagonal, and keys that no row can see are not computed.
    """
    rows = slice(start, stop)
    if looks.pattern is not None:
        yield 0, looks.rows(start, stop)
    elif looks.lse is None or looks.sinks is not None:
        keys = slice(0, stop) if causal else None
        yield 0, attention_pattern(looks.scores_of(rows, keys), looks.sinks)
    else:  # the kernel's own row sums: no second softmax
        lse = looks.lse[:, :, rows, None].float()
        lse = lse.masked_fill(~torch.isfinite(lse), torch.inf)
        for keys in (slice(0, start), rows) if causal else (slice(0, looks.keys),):
            if keys.start < keys.stop:
                yield keys.start, looks.scores_of(rows, keys).sub_(lse).exp_()


def _column(looks: Looks, place: torch.Tensor) -> torch.Tensor:
    """Attention to each head's own key, ``[batch, head, query]``."""
    wanted = place.clamp_min(0)
    column = looks.q.new_zeros(*wanted.shape, looks.queries, dtype=torch.float32)
    for keys in wanted.unique().split(KEYS_AT_ONCE):
        few = looks.to(keys)
        at = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        own = few.gather(-1, at[..., None, None].expand(*few.shape[:3], 1))[..., 0]
        column = torch.where((keys[at] == wanted)[..., None], own.to(column), column)
    return column


def watched(
    model: Model,
    part: Part,
    through: Mapping[Site, Projection],
    epsilons: Sequence[float],
) -> torch.Tensor:
    """Everything that is recorded of one batch, ``[field, input, block, head]`` in float32 on the CPU."""
    found: dict[Site, torch.Tensor] = {}

    def see(site: Site, looks: Looks) -> None:
        found[site] = _recorded(looks, part, through[site], epsilons)

    attend(model, part.inputs, list(through), see)
    return torch.stack([found[site] for site in through], dim=2)


def _recorded(looks: Looks, part: Part, through: Projection, epsilons: Sequence[float]) -> torch.Tensor:
    """``[field, input, head]`` of one block."""
    sink = sink_of(looks, part)
    device, place, values = looks.q.device, sink.place, looks.v.float()
    facts = column_facts(sink.column, sink.on, epsilons)
    norms = projected_norms(values, through.grams.to(device))
    eye = torch.eye(values.shape[-1], device=device).expand(place.shape[1], -1, -1)
    shape = update_shape(looks.mixed.transpose(1, 2).float(), sink.on, through.root.to(device))
    types = part.types.to(device)[:, None].expand(-1, place.shape[1], -1)
    at = place.clamp_min(0)[..., None]
    first = sink.real.long().argmax(-1)[:, None, None].expand(*place.shape, 1)
    strength = first_token_strength(sink.sums, sink.queries).gather(-1, first)[..., 0]
    none = place < 0
    recorded = {
        "sink_idx": place,
        "sink_type": types.gather(-1, at)[..., 0].masked_fill(none, -1),
        "mass": sink.mass,
        "least": facts.least,
        "subset_mass": facts.subset_mass,
        "first_strength": strength,
        "virtual_mass": virtual_mass(sink.sums, sink.real),
        "ratio_out": sink_ratio(norms, place, sink.real),
        "ratio_head": sink_ratio(projected_norms(values, eye), place, sink.real),
        "sink_value_norm": norms.gather(-1, at)[..., 0].masked_fill(none, torch.nan),
        "stable_rank": shape.stable_rank,
        "rank1_energy": shape.energy,
        "update_norm": shape.norm,
    }
    columns = [recorded[name].float() for name in FIELDS]
    return torch.stack([*columns, *facts.routed.float()]).cpu()
