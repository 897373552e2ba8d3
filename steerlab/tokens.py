"""What the entries along the token axis are: words, patches, frames, special tokens, padding."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import torch

from steerlab.errors import SteerlabError, listing, nearest

TokenChoice = str | int | slice | range | Sequence[int] | torch.Tensor


@dataclass(frozen=True, eq=False)
class TokenMap:
    """The tokens of one forward pass.

    Parameters
    ----------
    count : int
        Tokens along the axis.
    groups : mapping
        Named spans, for example ``{"cls": (0, 1), "registers": (1, 5), "patches": (5, 261)}``.
    grid : tuple of int, optional
        Shape of the patches: ``(height, width)`` or ``(frames, height, width)``.
    real : Tensor, optional
        Boolean ``[batch, token]``: True where a token is not padding.
    position : Tensor, optional
        Integer ``[batch, token]``: the place of a token among the real tokens of its row, counted from the
        start of the sequence, so that it means the same with left and right padding and with a cache.
    ids : Tensor, optional
        Token ids ``[batch, token]``.
    pieces : callable, optional
        Turns a list of ids into a list of strings.
    named_ids : mapping
        Special tokens by name, for example ``{"bos": 1, "eos": 2}``.
    frame_last : bool
        Whether the tokens run over rows, columns, then frames, instead of frames first.
    without_grid : str
        Why there is no grid, for the error that says so.
    """

    count: int
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    grid: tuple[int, ...] | None = None
    real: torch.Tensor | None = None
    position: torch.Tensor | None = None
    ids: torch.Tensor | None = None
    pieces: Callable[[list[int]], list[str]] | None = None
    named_ids: Mapping[str, int] = field(default_factory=dict)
    frame_last: bool = False
    without_grid: str = "the inputs of this model are not images"

    def select(self, choice: TokenChoice) -> torch.Tensor:
        """Boolean ``[batch or 1, token]`` of the chosen tokens; padding is never chosen."""
        chosen = self._select(choice)
        return chosen if self.real is None else chosen & self.real.to(chosen.device)

    def at_rows(self, rows: slice) -> TokenMap:
        """The map of some rows of the batch."""
        cut = {name: getattr(self, name) for name in ("real", "position", "ids")}
        return replace(self, **{name: None if part is None else part[rows] for name, part in cut.items()})

    def span(self, name: str) -> slice:
        """The slice of a named group."""
        if name not in self.groups:
            raise SteerlabError(
                f"no tokens named {name!r}{nearest(name, self.groups)} (known: {listing(self.words())})"
            )
        return slice(*self.groups[name])

    def words(self) -> list[str]:
        """The names that `select` understands here."""
        text = [*self.named_ids, "word:..."] if self.ids is not None else []
        return ["all", "first", "last", "special", *self.groups, *text]

    def patch_grid(self) -> tuple[int, ...]:
        """The grid, or the reason why there is none."""
        if self.grid is None:
            raise SteerlabError(f"patches, frames and regions need a grid: {self.without_grid}")
        return self.grid

    def patches(self, choice: Any = None, frames: Any = None) -> torch.Tensor:
        """Boolean ``[1, token]`` of patches by ``(row, column)`` or ``"2:5,3:7"``, and of frames."""
        grid = self.patch_grid()
        on = torch.ones(grid, dtype=torch.bool)
        if choice is not None:
            on &= _patch_mask(choice, grid[-2:])
        if frames is not None:
            if len(grid) != 3:
                raise SteerlabError(f"frames={frames!r}: these inputs are single images, grid {grid}")
            on &= index_mask(frames, grid[0], "frame")[:, None, None]
        return self._from_grid(on)

    def region(self, mask: torch.Tensor) -> torch.Tensor:
        """Weights ``[1, token]`` in [0, 1] from a mask ``[height, width]`` in image coordinates."""
        grid = self.patch_grid()
        mask = torch.as_tensor(mask, dtype=torch.float32)
        if mask.ndim != 2:
            raise SteerlabError(f"a region is a mask [height, width], not {list(mask.shape)}")
        if not bool(((mask >= 0) & (mask <= 1)).all()):
            raise SteerlabError("a region is a mask with values in [0, 1]")
        small = torch.nn.functional.interpolate(mask[None, None], size=grid[-2:], mode="area")[0, 0]
        return self._from_grid(small.expand(grid))

    def along_tokens(self, values: torch.Tensor) -> torch.Tensor:
        """Values on the grid ``[*grid, ...]`` in the order of the patch tokens ``[patch, ...]``."""
        axes = len(self.patch_grid())
        if self.frame_last:
            values = values.movedim(0, axes - 1)
        return values.flatten(0, axes - 1)

    def _from_grid(self, on: torch.Tensor) -> torch.Tensor:
        flat = self.along_tokens(on)
        full = torch.zeros(1, self.count, dtype=flat.dtype)
        start, stop = self.groups.get("patches", (0, self.count))
        if stop - start != flat.numel():
            raise SteerlabError(f"the grid {tuple(on.shape)} does not cover {stop - start} patch tokens")
        full[0, start:stop] = flat
        return full

    def _select(self, choice: TokenChoice) -> torch.Tensor:
        mask = as_mask(choice)
        if mask is not None:
            return self._fitting(mask)
        if isinstance(choice, str):
            return self._select_word(choice)
        numbers = choice if isinstance(choice, slice) else as_indices(choice)
        if numbers is not None:
            return self._select_index(numbers)
        raise SteerlabError(
            f"tokens={choice!r}: give a word ({listing(self.words())}), an index, a slice, a list of indices "
            "or a boolean mask"
        )

    def _fitting(self, mask: torch.Tensor) -> torch.Tensor:
        mask = mask if mask.ndim == 2 else mask[None]
        if mask.ndim != 2 or mask.shape[1] != self.count:
            raise SteerlabError(
                f"a token mask of shape {list(mask.shape)} does not fit {self.count} tokens "
                f"(expected [{self.count}] or [batch, {self.count}])"
            )
        if self.real is not None and mask.shape[0] not in (1, self.real.shape[0]):
            raise SteerlabError(
                f"a token mask for {mask.shape[0]} rows does not fit {self.real.shape[0]} rows"
            )
        return mask

    def _select_word(self, word: str) -> torch.Tensor:
        if word == "all":
            return torch.ones(1, self.count, dtype=torch.bool)
        if word in ("first", "last"):
            return self._select_index([0 if word == "first" else -1])
        if word in self.groups:
            return self._span_mask(self.groups[word])
        if word in self.named_ids and self.ids is not None:
            return self.ids == self.named_ids[word]
        if word == "special":
            return self._select_special()
        if word.startswith("word:"):
            return self._select_text(word.removeprefix("word:"))
        if all(part.lstrip("-").isdigit() or not part for part in word.split(":")) and word.strip(":"):
            parts = [int(part) if part else None for part in word.split(":")]
            return self._select_index(parts if len(parts) == 1 else slice(*parts))
        raise SteerlabError(
            f"no tokens named {word!r}{nearest(word, self.words())} (known: {listing(self.words())})"
        )

    def _select_special(self) -> torch.Tensor:
        if self.ids is not None:
            special = torch.tensor(sorted(set(self.named_ids.values())), device=self.ids.device)
            return torch.isin(self.ids, special)
        on = torch.zeros(1, self.count, dtype=torch.bool)
        for name, span in self.groups.items():
            on = on | self._span_mask(span) if name != "patches" else on
        return on

    def _select_text(self, word: str) -> torch.Tensor:
        if self.ids is None or self.pieces is None:
            need = "a tokenizer: pass it to wrap(model, tokenizer)" if self.ids is not None else "token ids"
            raise SteerlabError(f"tokens='word:{word}' needs {need} (known here: {listing(self.words())})")
        if not word:
            raise SteerlabError("tokens='word:' names no word; write it after the colon, as in 'word:Monday'")
        on = torch.zeros_like(self.ids, dtype=torch.bool)
        for row, ids in enumerate(self.ids.tolist()):
            pieces = self.pieces(ids)
            # pieces without any space are whole words, which a text would part
            gap = "" if any(letter.isspace() for piece in pieces for letter in piece) else " "
            starts = [0, *itertools.accumulate(len(piece) + len(gap) for piece in pieces)]
            for found in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", gap.join(pieces)):
                for token, piece in enumerate(pieces):
                    start = starts[token]
                    on[row, token] |= start < found.end() and found.start() < start + len(piece)
        return on

    def _select_index(self, choice: slice | list[int]) -> torch.Tensor:
        """By place among the real tokens of each row; negative numbers count from the row's end."""
        if self.position is None:
            return index_mask(choice, self.count, "token")[None]
        position, total = self.position, self.position.amax(dim=1, keepdim=True) + 1
        if isinstance(choice, slice):
            if choice.step not in (None, 1):
                raise SteerlabError(f"tokens={choice!r}: a slice of tokens has no step")
            low, high = choice.start or 0, choice.stop
            low = total + low if low < 0 else low
            high = total if high is None else (total + high if high < 0 else high)
            return (position >= low) & (position < high)
        on = torch.zeros_like(position, dtype=torch.bool)
        for index in choice:
            on |= position == (total + index if index < 0 else index)
        return on

    def _span_mask(self, span: tuple[int, int]) -> torch.Tensor:
        on = torch.zeros(1, self.count, dtype=torch.bool)
        on[0, slice(*span)] = True
        return on


def as_mask(choice: Any) -> torch.Tensor | None:
    """A boolean mask, from a tensor or a list of truth values; None for anything else."""
    if isinstance(choice, (list, tuple)) and choice and all(isinstance(one, bool) for one in choice):
        return torch.tensor(choice)
    return choice if isinstance(choice, torch.Tensor) and choice.dtype == torch.bool else None


def as_indices(choice: Any) -> list[int] | None:
    """Whole numbers, from one of them, a list, a range or a tensor; None for anything else."""
    if isinstance(choice, torch.Tensor):
        whole = not (choice.is_floating_point() or choice.is_complex()) and choice.ndim <= 1
        return choice.reshape(-1).tolist() if whole else None
    many = list(choice) if isinstance(choice, (Sequence, range)) and not isinstance(choice, str) else [choice]
    whole = all(isinstance(one, Integral) and not isinstance(one, bool) for one in many)
    return [int(one) for one in many] if whole else None


def index_mask(choice: Any, count: int, kind: str) -> torch.Tensor:
    """Boolean ``[count]`` of what `choice` names: an index, a slice, a list of indices or a mask."""
    mask, on = as_mask(choice), torch.zeros(count, dtype=torch.bool)
    if mask is not None:
        if mask.shape != (count,):
            raise SteerlabError(f"a {kind} mask of shape {list(mask.shape)} does not fit {count} {kind}s")
        return mask
    if isinstance(choice, slice):
        on[choice] = True
        return on
    indices = as_indices(choice)
    if indices is None:
        raise SteerlabError(
            f"{kind}s={choice!r}: give an index, a slice, a list of indices or a boolean mask"
        )
    for index in indices:
        if not -count <= index < count:
            raise SteerlabError(f"{kind} {index} does not exist: there are {count} (0 to {count - 1})")
        on[index] = True
    return on


def _patch_mask(choice: Any, grid: tuple[int, ...]) -> torch.Tensor:
    """Boolean ``[height, width]`` from ``"2:5,3:7"``, one ``(row, column)`` or a list of them."""
    on = torch.zeros(grid, dtype=torch.bool)
    if isinstance(choice, str):
        if not re.fullmatch(r"-?\d*:-?\d*,-?\d*:-?\d*", choice.replace(" ", "")):
            raise SteerlabError(f"patches={choice!r}: write rows and columns as 'top:bottom,left:right'")
        rows, columns = [
            slice(*(int(edge) if edge.strip() else None for edge in part.split(":")))
            for part in choice.split(",")
        ]
        on[rows, columns] = True
        return on
    pairs = [choice] if as_indices(choice) else choice
    numbers = [as_indices(pair) for pair in pairs] if isinstance(pairs, (Sequence, torch.Tensor)) else [None]
    if any(pair is None or len(pair) != 2 for pair in numbers):
        raise SteerlabError(
            f"patches={choice!r}: give (row, column), a list of them or 'top:bottom,left:right'"
        )
    for row, column in numbers:
        if not (0 <= row < grid[0] and 0 <= column < grid[1]):
            raise SteerlabError(f"patch ({row}, {column}) is outside the grid of {grid[0]} x {grid[1]}")
        on[row, column] = True
    return on
