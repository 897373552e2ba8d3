"""What the entries along the token axis are: words, patches, frames, special tokens, padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from steerlab.choices import as_indices, as_mask, index_mask, patch_mask, window_of
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.spoken import Condition, tokens_of_word, tokens_where

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
    start : int
        Column of the first of these tokens in the whole sequence, padding counted; what is cached is before.
    prompt : int, optional
        Columns of the prompt, while a model generates; all later ones are generated. None where a forward
        stands alone, so that all of it is prompt.
    prompt_real : Tensor, optional
        ``[batch]``: how many of the prompt's tokens are not padding.
    sequence : callable, optional
        Gives ids and reality of all columns known so far, ``[batch, column]`` each.
    keys : callable, optional
        Gives the map of so many last columns: the keys and values that attention sees, cached ones included.
    unknown : str
        Why it is not known where the prompt ends, for the error that says so.
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
    start: int = 0
    prompt: int | None = None
    prompt_real: torch.Tensor | None = None
    sequence: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None
    keys: Callable[[int], TokenMap] | None = None
    unknown: str = ""
    without_grid: str = "the inputs of this model are not images"

    def select(self, choice: TokenChoice) -> torch.Tensor:
        """Boolean ``[batch or 1, token]`` of the chosen tokens; padding is never chosen."""
        chosen = self._select(choice)
        return chosen if self.real is None else chosen & self.real.to(chosen.device)

    def at_rows(self, rows: slice) -> TokenMap:
        """The map of some rows of the batch."""
        cut = {name: getattr(self, name) for name in ("real", "position", "ids", "prompt_real")}
        cut = {name: None if part is None else part[rows] for name, part in cut.items()}
        sequence, keys = self.sequence, self.keys
        if sequence is not None:
            cut["sequence"] = lambda: tuple(part[rows] for part in sequence())
        if keys is not None:
            cut["keys"] = lambda count: keys(count).at_rows(rows)
        return replace(self, **cut)

    def span(self, name: str) -> slice:
        """The slice of a named group."""
        if name not in self.groups:
            raise SteerlabError(
                f"no tokens named {name!r}{nearest(name, self.groups)} (known: {listing(self.words())})"
            )
        return slice(*self.groups[name])

    def words(self) -> list[str]:
        """The names that `select` understands here."""
        text = ["prompt", "generated[0:8]", *self.named_ids, "word:..."] if self.ids is not None else []
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
            on &= patch_mask(choice, grid[-2:])
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
        if word == "first":
            return self._select_index([0])
        if word in ("prompt", "last") or word.startswith("generated"):
            return self._select_of_run(word)
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
        return self._by_row(
            f"tokens='word:{word}'", lambda pieces, known, first: tokens_of_word(pieces, word, known)[first:]
        )

    def meeting(self, condition: Condition) -> torch.Tensor:
        """Boolean ``[batch, token]``: where the text of the row, up to the token, meets a condition."""
        return self._by_row(
            f"when={condition!r}", lambda pieces, known, first: tokens_where(pieces, condition, first)
        )

    def _by_row(self, asked: str, judge: Callable[[list[str], int, int], list[bool]]) -> torch.Tensor:
        """Judge each row's real tokens by its text from the start on."""
        if self.ids is None or self.pieces is None:
            need = "a tokenizer: pass it to wrap(model, tokenizer)" if self.ids is not None else "token ids"
            raise SteerlabError(f"{asked} needs {need} (known here: {listing(self.words())})")
        self._refuse_unknown(asked)
        real = torch.ones_like(self.ids, dtype=torch.bool) if self.real is None else self.real
        ids, real = (self.ids, real) if self.sequence is None else self.sequence()
        prompt = self.start + self.count if self.prompt is None else self.prompt
        on = torch.zeros_like(self.ids, dtype=torch.bool)
        for row, (row_ids, row_real) in enumerate(zip(ids.tolist(), real.tolist(), strict=True)):
            columns = [column for column, one in enumerate(row_real) if one]
            first = sum(row_real[: self.start])  # what lies before is judged already
            told = judge(self.pieces([row_ids[column] for column in columns]), sum(row_real[:prompt]), first)
            for column, one in zip(columns[first:], told, strict=True):
                if one and column < self.start + self.count:
                    on[row, column - self.start] = True
        return on

    def _select_index(self, choice: slice | list[int]) -> torch.Tensor:
        """By place among the real tokens of each row; negative numbers count from the end of its prompt."""
        if self.position is None:
            return index_mask(choice, self.count, "token")[None]
        position, ends = self.position, self._ends
        if isinstance(choice, slice):
            if choice.step not in (None, 1):
                raise SteerlabError(f"tokens={choice!r}: a slice of tokens has no step")
            low, high = choice.start or 0, choice.stop
            on = position >= (ends(choice) + low if low < 0 else low)
            return on if high is None else on & (position < (ends(choice) + high if high < 0 else high))
        on = torch.zeros_like(position, dtype=torch.bool)
        for index in choice:
            on |= position == (ends(choice) + index if index < 0 else index)
        return on

    def _ends(self, choice: Any) -> torch.Tensor:
        """Number of real tokens in each row's prompt ``[batch, 1]``: of all, where nothing is generated."""
        self._refuse_unknown(f"tokens={choice!r}")
        if self.prompt_real is not None:
            return self.prompt_real[:, None].to(self.position.device)
        return self.position.amax(dim=1, keepdim=True) + 1

    def _select_of_run(self, word: str) -> torch.Tensor:
        """``prompt``, ``last``, ``generated`` and ``generated[a:b]``."""
        self._refuse_unknown(f"tokens={word!r}")
        if word == "last":
            if self.prompt is None:
                return self._select_index([-1])
            return self.position >= self._ends(word) - 1  # what each step of a generation predicts from
        prompt = self.start + self.count if self.prompt is None else self.prompt
        column = torch.arange(self.start, self.start + self.count)[None]
        if word == "prompt":
            return column < prompt
        low, high = window_of(word)
        on = column >= prompt + low
        return on if high is None else on & (column < prompt + high)

    def _refuse_unknown(self, asked: str) -> None:
        if self.unknown:
            raise SteerlabError(f"{asked}: {self.unknown}")

    def _span_mask(self, span: tuple[int, int]) -> torch.Tensor:
        on = torch.zeros(1, self.count, dtype=torch.bool)
        on[0, slice(*span)] = True
        return on
