"""Rows to train on: from one tensor, or from batches that can be read again; always in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch

from steerlab.errors import SteerlabError

Source = torch.Tensor | Iterable[torch.Tensor] | Callable[[], Iterable[torch.Tensor]]

_POOL = 32  # batches that are mixed with each other where the data come as a stream


@dataclass(frozen=True, eq=False)
class Rows:
    """Training rows ``[row, dim]``, or pairs ``[row, 2, dim]``.

    Parameters
    ----------
    source : Tensor, iterable or callable
        ``[..., dim]`` in one tensor, or batches of any size: a list, or a function that starts them anew.
    paired : bool
        Whether an item is a pair: a tuple of two tensors ``[pair, dim]``, or ``[pair, 2, dim]``.
    batch, seed : int
        Rows that `batches` gives at once, and what decides their order.
    """

    source: Source
    paired: bool
    batch: int
    seed: int
    whole: torch.Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.source, Iterator):
            raise SteerlabError(
                "the activations are an iterator, which can be read once: give a list of batches, "
                "or a function that starts them anew"
            )
        pair = self.paired and isinstance(self.source, tuple) and len(self.source) == 2
        if pair or isinstance(self.source, torch.Tensor):
            object.__setattr__(self, "whole", self._flat(self.source))

    def first(self) -> torch.Tensor:
        """What the normalisation is measured on: the whole tensor, or the first pool of a stream."""
        rows = next(self._pools()) if self.whole is None else self.whole
        return rows if len(rows) else self._nothing()

    def batches(self) -> Iterator[torch.Tensor]:
        """Batches without end; every call gives the same ones."""
        generator = torch.Generator().manual_seed(self.seed)
        left = torch.empty(0)
        while True:
            for pool in self._pools() if self.whole is None else [self.whole]:
                # an index rather than a shuffled copy: the tensor may be most of the memory
                order = torch.randperm(len(pool), generator=generator)
                for some in order.split(self.batch):
                    left = torch.cat([left, pool[some].float()]) if len(left) else pool[some].float()
                    if len(left) >= self.batch:
                        yield left[: self.batch]
                        left = left[self.batch :]

    def _pools(self) -> Iterator[torch.Tensor]:
        """Pools of a pass over the stream; the last one may be small."""
        parts, count = [], 0
        for item in self.source() if callable(self.source) else self.source:
            parts.append(self._flat(item))
            count += len(parts[-1])
            if count >= _POOL * self.batch:
                yield torch.cat(parts)
                parts, count = [], 0
        yield torch.cat(parts) if parts else self._nothing()

    def _flat(self, item: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """One item as rows or pairs, checked."""
        if self.paired and isinstance(item, tuple) and len(item) == 2 and item[0].shape == item[1].shape:
            item = torch.stack([part.reshape(-1, part.shape[-1]) for part in item], dim=1)
        if not isinstance(item, torch.Tensor) or not item.is_floating_point():
            raise SteerlabError(f"activations are floating tensors [..., dim], not {_named(item)}")
        if self.paired and (item.ndim < 3 or item.shape[-2] != 2):
            raise SteerlabError(
                f"this kind takes pairs: tuples of two tensors [pair, dim], or [pair, 2, dim], "
                f"not {list(item.shape)}"
            )
        flat = item.detach().reshape(-1, *item.shape[-2 if self.paired else -1 :])
        if not bool(torch.isfinite(flat).all()):
            raise SteerlabError(f"the activations {list(item.shape)} hold NaN or infinite entries")
        return flat

    def _nothing(self) -> torch.Tensor:
        raise SteerlabError("there are no activations to train on")


def _named(item: object) -> str:
    return f"{item.dtype} numbers" if isinstance(item, torch.Tensor) else type(item).__name__
