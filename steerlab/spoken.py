"""Words and conditions in a text of which more and more is known: plain functions on pieces of text.

While a model generates, a token is judged by the text up to and including itself, so that the judgement
is the same with and without a cache and never changes afterwards. The prompt is known as a whole.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from steerlab.errors import SteerlabError

Condition = str | Callable[[str], bool]


def joined(pieces: Sequence[str]) -> tuple[str, list[int], list[int]]:
    """The text of some pieces, and where each of them starts and ends in it."""
    # pieces without any space are whole words, which a text would part
    gap = "" if any(letter.isspace() for piece in pieces for letter in piece) else " "
    starts = [0, *itertools.accumulate(len(piece) + len(gap) for piece in pieces)][: len(pieces)]
    return gap.join(pieces), starts, [start + len(p) for start, p in zip(starts, pieces, strict=True)]


def tokens_of_word(pieces: Sequence[str], word: str, known: int) -> list[bool]:
    """For each piece, whether it is part of a whole word.

    Parameters
    ----------
    pieces : sequence of str
        The text, token by token.
    word : str
        The word, letter by letter as it is written.
    known : int
        How many leading pieces are known as a whole: the prompt. A later piece counts if the word covers some
        of it in the text that ends with this piece.
    """
    if not word:
        raise SteerlabError("tokens='word:' names no word; write it after the colon, as in 'word:Monday'")
    text, starts, ends = joined(pieces)
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    found = [match.span() for match in pattern.finditer(text[: ends[known - 1]] if known else "")]
    on = [any(a < end and start < b for a, b in found) for start, end in zip(starts, ends, strict=True)]
    for token in range(known, len(pieces)):
        far = max(0, starts[token] - len(word) - 1)
        matches = pattern.finditer(text[: ends[token]], far)
        on[token] = any(match.end() > starts[token] for match in matches)
    return on


def tokens_where(pieces: Sequence[str], condition: Condition, first: int = 0) -> list[bool]:
    """For each piece from `first` on, whether the text up to and including it meets a condition.

    Parameters
    ----------
    pieces : sequence of str
        The text from its start, token by token.
    condition : str or callable
        A phrase that the text must hold, or ``text -> bool``.
    first : int
        The first piece that is asked for.
    """
    text, _, ends = joined(pieces)
    if callable(condition):
        return [bool(condition(text[:end])) for end in ends[first:]]
    place = text.find(condition)
    return [place >= 0 and place + len(condition) <= end for end in ends[first:]]
