"""Inputs in batches, and what their tokens are, told before the attention of a batch is watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.atoms.stream import prepared
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenMap

TYPES = ("cls", "registers", "patches", "first", "delimiter", "other")
DELIMITERS = frozenset(".,;:!?\n") | {"...", "\n\n", '"', "'"}


def parts_of(data: Any, size: int) -> Iterator[Any]:
    """Inputs a few at a time: of a list or a tensor its rows, of a mapping those of its tensors."""
    rows = count_of(data)
    for start in range(0, rows, size):
        yield rows_of(data, range(start, min(start + size, rows)))


def count_of(data: Any) -> int:
    """How many inputs there are."""
    if isinstance(data, str):
        return 1
    if isinstance(data, Mapping):
        counts = {len(value) for value in data.values() if isinstance(value, torch.Tensor) and value.ndim}
        if len(counts) != 1:
            raise SteerlabError(f"inputs by name: their tensors have {sorted(counts)} rows")
        return counts.pop()
    try:
        count = len(data)
    except TypeError:
        raise SteerlabError(
            f"inputs are a list, a tensor or tensors by name, not {type(data).__name__}"
        ) from None
    if not count:
        raise SteerlabError("no inputs: the list is empty")
    return count


def rows_of(data: Any, rows: Sequence[int]) -> Any:
    """Some of the inputs."""
    if isinstance(data, str):
        return [data]
    wanted = list(rows)
    if isinstance(data, torch.Tensor):
        return data[wanted]
    if isinstance(data, Mapping):
        return {
            name: value[wanted] if isinstance(value, torch.Tensor) and value.ndim else value
            for name, value in data.items()
        }
    return [data[row] for row in wanted]


@dataclass(frozen=True, eq=False)
class Part:
    """One batch, ready to be run.

    Attributes
    ----------
    inputs : mapping
        Keyword arguments of the model.
    tokens : TokenMap
        What its tokens are.
    real : Tensor
        Boolean ``[batch, token]``: what is not padding.
    types : Tensor
        Places in `TYPES`, ``[batch, token]``.
    """

    inputs: Mapping[str, Any]
    tokens: TokenMap
    real: torch.Tensor
    types: torch.Tensor

    @property
    def padded(self) -> bool:
        """Whether any token is padding."""
        return not bool(self.real.all())


def part_of(model: Model, batch: Any, pattern: Site) -> Part:
    """Prepare a batch and describe its tokens by a forward that ends before the first block does anything."""
    inputs = prepared(model, batch)
    first = Site(pattern.place, "resid_pre")
    acts = model.capture(inputs, at=first)
    rows, count = acts[first].shape[:2]
    tokens = acts.map_of(first) if acts.maps.get(first) is not None else TokenMap(count)
    real = tokens.select("all").cpu().expand(rows, -1)
    return Part(inputs, tokens, real, token_types(tokens, rows))


def token_types(tokens: TokenMap, rows: int) -> torch.Tensor:
    """What each token is, as places in `TYPES`, ``[row, token]``.

    In texts the first real token, whatever it is, stands apart from delimiters (punctuation and line ends
    alone in a token); which tokens count as delimiters is our own choice.
    """
    types = torch.full((rows, tokens.count), TYPES.index("other"))
    for name in ("cls", "registers", "patches"):
        if name in tokens.groups:
            types[:, tokens.span(name)] = TYPES.index(name)
    if tokens.position is None:
        return types
    if tokens.ids is not None and tokens.pieces is not None:
        for row, ids in enumerate(tokens.ids.tolist()):
            on = [piece.strip(" ") in DELIMITERS for piece in tokens.pieces(ids)]
            types[row, torch.tensor(on)] = TYPES.index("delimiter")
    first = tokens.select("first").cpu().expand(rows, -1)
    return types.masked_fill(first, TYPES.index("first"))
