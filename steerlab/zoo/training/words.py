"""The tokenizer of the embedded models: CLIP's own kind, in which every word of a caption is one token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from steerlab.zoo import scenes

__all__ = ["BEGIN", "END", "word_tokenizer"]

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def word_tokenizer(length: int = 16) -> CLIPTokenizer:
    """Make a tokenizer that gives one token a word of `scenes.vocabulary` and spells any other word.

    The vocabulary holds every byte, as CLIP's does, so no text is unknown; the marks of beginning and end
    have the two highest ids, and the end pads.

    Parameters
    ----------
    length : int
        Most tokens of a text, the marks included.

    Returns
    -------
    CLIPTokenizer
        It saves and loads as any other.
    """
    merges = _merges(scenes.vocabulary())
    letters = sorted(bytes_to_unicode().values())  # the 256 bytes, written as printable characters
    ends = [letter + _WORD_END for letter in letters]
    tokens = [*letters, *ends, *dict.fromkeys(left + right for left, right in merges), BEGIN, END]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=length,
    )


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Learn byte pairs until every word is whole.

    The encoder repeats the merges in their order, so it ends where learning ended. Merges written word by
    word would not: a pair that one word needs early may tear another apart.
    """
    spelt = [[*word[:-1], word[-1] + _WORD_END] for word in dict.fromkeys(words)]
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in spelt):
        counts = Counter(pair for parts in spelt for pair in pairwise(parts))
        best = min(counts, key=lambda pair: (-counts[pair], pair))  # ties by the alphabet, so always the same
        merges.append(best)
        spelt = [_joined(parts, best) for parts in spelt]
    return merges


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    done: list[str] = []
    for part in parts:
        # what was joined just now cannot join again: it is longer than the pair's left half
        if done and (done[-1], part) == pair:
            done[-1] += part
        else:
            done.append(part)
    return done
