"""What an attention call looked at, row by row or key by key, without its whole pattern being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steerlab.numerics.attention import attention_pattern

ROWS = 128  # queries of a tile
# (query rows, keys or all of them) -> scores [batch, head, row, key]
ScoresOf = Callable[[slice, slice | torch.Tensor | None], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Looks:
    """One attention call, after every edit of it.

    Parameters
    ----------
    q : Tensor
        ``[batch, head, query, dim]``.
    k, v : Tensor
        ``[batch, key-value head, key, dim]``; each serves ``head / key-value head`` heads.
    mixed : Tensor
        What the heads write, ``[batch, query, head, dim]``.
    scores_of : callable
        Scores of some queries to some keys.
    sinks : Tensor, optional
        One logit a head that takes part in the sum but has no column.
    lse : Tensor, optional
        The logarithm of the sum of the exponentiated scores of each row, ``[batch, head, query]``, where the
        kernel gave it away.
    pattern : Tensor, optional
        The pattern, where an edit made it already.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mixed: torch.Tensor
    scores_of: ScoresOf
    sinks: torch.Tensor | None = None
    lse: torch.Tensor | None = None
    pattern: torch.Tensor | None = None

    @property
    def queries(self) -> int:
        """How many rows the pattern has."""
        return self.q.shape[2]

    @property
    def keys(self) -> int:
        """How many columns the pattern has."""
        return self.k.shape[2]

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Some rows of the pattern, ``[batch, head, row, key]``."""
        if self.pattern is not None:
            return self.pattern[:, :, start:stop]
        return attention_pattern(self.scores_of(slice(start, stop), None), self.sinks)

    def tiles(self, size: int = ROWS) -> Iterator[tuple[int, torch.Tensor]]:
        """The pattern a few rows at a time: the number of the first, and ``[batch, head, row, key]``."""
        for start in range(0, self.queries, size):
            yield start, self.rows(start, start + size)

    def to(self, keys: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """Attention to a few keys, ``[batch, head, query, len(keys)]``.

        With the row sums that fused kernels keep it costs one product with these keys, and no pattern.
        """
        wanted = torch.as_tensor(keys, device=self.k.device).reshape(-1)
        if self.pattern is not None or self.lse is None:
            return torch.cat([tile[..., wanted] for _, tile in self.tiles()], dim=2)
        scores = self.scores_of(slice(0, self.queries), wanted)
        sees_nothing = ~torch.isfinite(self.lse)
        lse = self.lse.to(scores.dtype).masked_fill(sees_nothing, 0.0)
        if self.sinks is not None:
            lse = torch.logaddexp(lse, self.sinks.to(lse).view(1, -1, 1).expand_as(lse))
        return (scores - lse[..., None]).exp().masked_fill(sees_nothing[..., None], 0.0)


@dataclass(eq=False)
class RowSums:
    """The row sums of the fused attention kernels that run inside, as they give them to their backward."""

    found: list[torch.Tensor] = field(default_factory=list)

    def __enter__(self) -> RowSums:
        self._mode = _Overhearing(self.found)
        self._mode.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._mode.__exit__(*fault)

    def of(self, shape: tuple[int, ...]) -> torch.Tensor | None:
        """The sums of the one kernel that ran, if they have this shape ``[batch, head, query]``."""
        if len(self.found) != 1 or self.found[0].shape[:2] != shape[:2]:
            return None
        sums = self.found[0][..., : shape[2]]  # some kernels pad the rows
        return sums if tuple(sums.shape) == tuple(shape) else None


class _Overhearing(TorchDispatchMode):
    """Keeps the second result of fused attention kernels; nothing else is touched."""

    def __init__(self, found: list[torch.Tensor]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.__name__
        if name.startswith("_scaled_dot_product") and "backward" not in name and isinstance(output, tuple):
            sums = output[1]
            if isinstance(sums, torch.Tensor) and sums.ndim == 3 and sums.numel():
                self.found.append(sums)
        return output
