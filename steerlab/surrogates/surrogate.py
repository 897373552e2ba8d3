"""A surrogate: a few shared blocks that stand in for a span of blocks, as a value that can be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import nn

from steerlab.errors import SteerlabError
from steerlab.fingerprint import Fingerprint
from steerlab.surrogates.block import BlockSizes, RaptorBlock


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Shared blocks in place of blocks ``span[0] .. span[1] - 1``, one application for each of them.

    Block ``i`` of the model produces layer ``i + 1``. With ``span = (0, 12)`` and ``cuts = (7,)``, the first
    shared block produces layers 1 to 7 and the second layers 8 to 12 (arXiv 2512.19941).

    Parameters
    ----------
    sizes : BlockSizes
        Of each shared block.
    span : tuple of int
        First block that is replaced, and the one after the last.
    cuts : tuple of int
        Blocks at which another shared block takes over, rising, inside the span.
    weights : mapping
        Weights of `RaptorBlock`, their names behind the number of the shared block: ``0.norm1.weight``.
    at : str
        The blocks, as in a site.
    about : str
        How it came to be, in a sentence.
    licence, provenance, fits
        As for an `Intervention`.
    """

    applied_by: ClassVar[str] = "with sl.rewired(model, it): ..."

    sizes: BlockSizes
    span: tuple[int, int]
    cuts: tuple[int, ...]
    weights: Mapping[str, torch.Tensor]
    at: str = "blocks"
    about: str = ""
    licence: str | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)
    fits: Fingerprint | None = None

    def __post_init__(self) -> None:
        edges = (self.span[0], *self.cuts, self.span[1])
        if self.span[0] < 0 or any(a >= b for a, b in zip(edges, edges[1:], strict=False)):
            raise SteerlabError(f"cuts {list(self.cuts)} do not rise inside the span {list(self.span)}")
        wanted = shapes_of(self.sizes, len(self.cuts) + 1)
        given = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        if given != wanted:
            odd = sorted(n for n in {*given, *wanted} if given.get(n) != wanted.get(n))[0]
            raise SteerlabError(
                f"weights of a surrogate: {odd!r} is {given.get(odd, 'missing')}, wanted {wanted.get(odd)}"
            )

    @property
    def segments(self) -> list[range]:
        """The blocks that each shared block stands for."""
        return segments_of(self.span, self.cuts)

    @cached_property
    def blocks(self) -> nn.ModuleList:
        """The shared blocks as modules, in evaluation mode."""
        blocks = nn.ModuleList(empty_block(self.sizes) for _ in self.segments)
        blocks.load_state_dict(dict(self.weights), assign=True)
        return blocks.requires_grad_(False).eval()

    def block_for(self, block: int) -> RaptorBlock:
        """The shared block that stands for a block of the model."""
        return next(
            mine for mine, segment in zip(self.blocks, self.segments, strict=True) if block in segment
        )

    def run(self, state: torch.Tensor) -> list[torch.Tensor]:
        """The closed loop: from the state before the span, the state after each of its blocks.

        Parameters
        ----------
        state : Tensor
            ``[batch, token, dim]``.
        """
        states = []
        for block in range(*self.span):
            state = self.block_for(block)(state, block + 1)
            states.append(state)
        return states

    def stored(self) -> tuple[str, dict[str, object]]:
        """What a ``.steer`` file writes; what it knows of the model stands elsewhere in it."""
        names = ("sizes", "span", "cuts", "weights", "at")
        return "Surrogate", {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        spans = ", ".join(f"{s.start}-{s.stop - 1}" for s in self.segments)
        count = sum(weight.numel() for weight in self.weights.values())
        return f"Surrogate({self.at} {spans}; {count / 1e6:.2f} M parameters)"


def segments_of(span: tuple[int, int], cuts: Sequence[int]) -> list[range]:
    """The blocks between the edges of a span and its cuts."""
    edges = (span[0], *cuts, span[1])
    return [range(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def empty_block(sizes: BlockSizes) -> RaptorBlock:
    """A shared block without values; drawing first ones would move torch's generator."""
    with torch.device("meta"):
        return RaptorBlock(sizes)


def shapes_of(sizes: BlockSizes, count: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of so many shared blocks."""
    one = empty_block(sizes).state_dict()
    return {f"{i}.{name}": tuple(weight.shape) for i in range(count) for name, weight in one.items()}
