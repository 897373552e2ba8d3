"""Chain: several edits, one after the other, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Chain(Edit):
    """``x -> edits[-1](... edits[0](x))``.

    Parameters
    ----------
    edits : sequence of Edit
        In the order of application. A scope goes on the chain, not on its links.
    """

    edits: Sequence[Edit]

    def __post_init__(self) -> None:
        if isinstance(self.edits, Edit):
            raise SteerlabError(f"Chain takes a list of edits: Chain([{self.edits!r}])")
        if not self.edits:
            raise SteerlabError("Chain needs at least one edit")
        for edit in self.edits:
            if not isinstance(edit, Edit):
                raise SteerlabError(
                    f"Chain takes edits, not {type(edit).__name__}: {edit!r}; put a scope on the whole chain"
                )
        # a chain belongs where its choosiest link does
        object.__setattr__(self, "streams", next((e.streams for e in self.edits if e.streams), ()))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the result of the last edit."""
        for edit in self.edits:
            x = edit(x)
        return x
