"""Sums in words: every pair of values in a template, the number it makes, and where its tokens stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.analyzers.manifold_steering.reading import Answers, Asked
from steerlab.atoms.stream import prepared
from steerlab.errors import SteerlabError
from steerlab.model import Model

NUMBERS = ("sum", "first")


@dataclass(frozen=True, eq=False)
class Sums:
    """Prompts whose answer is a sum of two numbers, perhaps round a cycle.

    Parameters
    ----------
    texts : list of str
        The prompts.
    places : list of int
        Length in characters of what ends with the number that is looked at.
    first, second : Tensor
        The two numbers of each prompt, ``[prompt]``.
    size : int
        How many answers there are; a sum beyond them goes round where they are a cycle.
    cycle : bool
        Whether they are.
    number : str
        Which number is looked at: ``"sum"``, at the last token, or ``"first"``, at its own last token.
    """

    texts: list[str]
    places: list[int]
    first: torch.Tensor
    second: torch.Tensor
    size: int
    cycle: bool
    number: str

    @property
    def numbers(self) -> torch.Tensor:
        """The number that is looked at, ``[prompt]``; sums as they are, not yet round the cycle."""
        return self.first + self.second if self.number == "sum" else self.first

    @property
    def answers(self) -> torch.Tensor:
        """The right answer's number, ``[prompt]``; -1 where there is none."""
        return self.answer_to(self.numbers)

    def answer_to(self, numbers: torch.Tensor) -> torch.Tensor:
        """The answers if the number looked at were another, ``[..., prompt]``; -1 where there is none."""
        sums = numbers if self.number == "sum" else numbers + self.second
        if self.cycle:
            return sums % max(1, self.size)
        return torch.where((sums >= 0) & (sums < self.size), sums, -1)

    def __len__(self) -> int:
        return len(self.texts)

    def only(self, rows: Sequence[int]) -> Sums:
        """Some of the prompts."""
        some = torch.tensor(list(rows), dtype=torch.long)
        texts, places = ([whole[i] for i in rows] for whole in (self.texts, self.places))
        return Sums(texts, places, self.first[some], self.second[some], self.size, self.cycle, self.number)

    def asked(self, model: Model, site: str, outcomes: Outcomes) -> Answers:
        """The function from activations at the looked-at token of each prompt to its answer."""
        asked = []
        for text, place in zip(self.texts, self.places, strict=True):
            ids, at = placed(model, text, place)
            past = None
            if at > 0:
                with torch.no_grad():
                    past = model.module(input_ids=ids[None, :at], use_cache=True).past_key_values
            asked.append(Asked(ids, at, past))
        return Answers(model, site, tuple(asked), outcomes)


def all_sums(
    contexts: Sequence[str],
    template: str,
    words: tuple[Sequence[str], Sequence[str]],
    *,
    start: int = 0,
    answers: tuple[int, bool, str] = (0, False, "sum"),
) -> Sums:
    """Every pair of values after every context.

    Parameters
    ----------
    contexts : sequence of str
        What stands before the template: examples, or nothing.
    template : str
        Holds ``{a}``, and ``{b}`` unless there is but one value of it.
    words : two sequences of str
        The words of ``a``, whose numbers are 0, 1, 2 ..., and of ``b``.
    start : int
        The number of the first word of ``b``.
    answers : tuple
        How many there are, whether they are a cycle, and which number is looked at.
    """
    size, cycle, number = answers
    texts, places, pairs = [], [], []
    head = template[: template.index("{a}") + 3] if number == "first" else template
    for context in contexts:
        for a, first in enumerate(words[0]):
            for b, second in enumerate(words[1]):
                if size and not cycle and a + b + start >= size:
                    continue
                texts.append(context + template.format(a=first, b=second))
                places.append(len(context + head.format(a=first, b=second)))
                pairs.append((a, b + start))
    both = torch.tensor(pairs, dtype=torch.long).view(-1, 2)
    return Sums(texts, places, both[:, 0], both[:, 1], size, cycle, number)


def placed(model: Model, text: str, length: int) -> tuple[torch.Tensor, int]:
    """Token ids of a text ``[token]``, and the last token of its first `length` characters."""
    ids, head = (prepared(model, some)["input_ids"][0] for some in (text, text[:length]))
    if len(head) > len(ids) or not torch.equal(ids[: len(head)], head):
        raise SteerlabError(
            f"{text!r}: a token goes on beyond {text[:length]!r}, so the number has no last token of "
            "its own; change the template"
        )
    return ids, len(head) - 1


def said_as(model: Model, words: Sequence[str]) -> Outcomes:
    """The single tokens that say each answer, with and without a space before it, spelt as it is given."""
    if model.processor is None:
        raise SteerlabError("answers are read by tokens: pass the tokenizer to wrap(model, tokenizer)")
    unknown = getattr(model.processor, "unk_token_id", None)
    rows: dict[int, int] = {}
    for owner, word in enumerate(words):
        spelt = [model.processor(text, add_special_tokens=False)["input_ids"] for text in (word, f" {word}")]
        mine = {one[0] for one in spelt if len(one) == 1 and one[0] != unknown}
        if not mine:
            raise SteerlabError(f"the answer {word!r} is no single token of this model; leave it out")
        if mine & set(rows):
            raise SteerlabError(f"the answer {word!r} shares a token with another one")
        rows |= dict.fromkeys(mine, owner)
    ids = torch.tensor(list(rows))[:, None]
    return Outcomes(
        tuple(words), ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor(list(rows.values()))
    )
