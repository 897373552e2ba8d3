"""Window: queries see the latest keys, and perhaps the very first ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from steerlab.edits.base import Edit
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Window(Edit):
    """Scores of query ``i`` and key ``j`` become ``-inf`` unless ``i - j < recent`` or ``j < first``.

    With ``first=4`` it is what StreamingLLM (arXiv 2309.17453) leaves in its cache, as a mask over the texts'
    own positions; with ``first=0`` the plain window, without the tokens that attention rests on. Keys are
    counted as columns, so of a batch padded on the left the first ones are padding.

    Parameters
    ----------
    recent : int
        Keys that a query sees, its own included.
    first : int or list of int
        How many keys from the start it sees too, or their numbers.
    """

    streams: ClassVar[tuple[str, ...]] = ("scores",)

    recent: int
    first: int | list[int] = 0

    def __post_init__(self) -> None:
        if not _whole(self.recent, 1):
            raise SteerlabError(f"Window: recent={self.recent!r} is not a whole number of 1 or more")
        some = self.first if isinstance(self.first, list) else [self.first]
        if not all(_whole(one, 0) for one in some):
            raise SteerlabError(
                f"Window: first={self.first!r}; give how many keys, or a list of their numbers"
            )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores ``[..., query, key]``; the last query is that of the last key."""
        queries, keys = x.shape[-2:]
        j = torch.arange(keys, device=x.device)
        i = torch.arange(keys - queries, keys, device=x.device)[:, None]
        also = j < self.first if isinstance(self.first, int) else torch.isin(j, j.new_tensor(self.first))
        return x.masked_fill(~((i - j < self.recent) | also), -torch.inf)


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
