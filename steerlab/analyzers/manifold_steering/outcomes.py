"""The values of a concept as answers: which tokens say each of them, and how likely a model finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.errors import SteerlabError, nearest
from steerlab.model import Model

FORMS: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper, str.capitalize)
LEADS = ("", " ")
READINGS = ("token", "whole")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Values, each with the sequences of tokens that say it.

    The behaviour of arXiv 2605.05115: the probabilities of a value's spellings are summed, and what is left
    of 1 is one more outcome, "something else".

    Parameters
    ----------
    names : tuple of str
        The values.
    ids : Tensor
        Token ids of all spellings, ``[spelling, token]``, short ones filled up with 0.
    real : Tensor
        Boolean, which of them are tokens of the spelling, ``[spelling, token]``.
    owner : Tensor
        The number of the value that each spelling says, ``[spelling]``.
    """

    names: tuple[str, ...]
    ids: torch.Tensor
    real: torch.Tensor
    owner: torch.Tensor

    @staticmethod
    def of(model: Model, values: Sequence[str], *, reading: str = "token") -> Outcomes:
        """The spellings of values in a model's tokens.

        Parameters
        ----------
        model : Model
            A language model with its tokenizer.
        values : sequence of str
            Three or more.
        reading : str
            ``"token"``: every spelling, with and without a space before it, as it is, in lower case, in upper
            case and capitalised, that is one token (the paper's). ``"whole"``: the value after a space, as
            many tokens as it has, by the likelihood of all of them one after the other (our own definition).
            No spelling may begin as another one does: then they are events that exclude each other, their
            probabilities sum to at most 1, and nothing has to be normalised.
        """
        names = tuple(str(value) for value in values)
        if reading not in READINGS:
            raise SteerlabError(f"reading={reading!r}{nearest(reading, READINGS)}; it is 'token' or 'whole'")
        if model.processor is None:
            raise SteerlabError("answers are read by tokens: pass the tokenizer to wrap(model, tokenizer)")
        encode = _encoder(model.processor)
        spellings = _single(names, encode) if reading == "token" else _whole(names, encode)
        rows = [(ids, owner) for owner, several in enumerate(spellings) for ids in several]
        width = max(len(ids) for ids, _ in rows)
        filled = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in rows])
        real = torch.tensor([[i < len(ids) for i in range(width)] for ids, _ in rows])
        return Outcomes(names, filled, real, torch.tensor([owner for _, owner in rows]))

    @property
    def count(self) -> int:
        """How many values."""
        return len(self.names)

    @property
    def tails(self) -> torch.Tensor:
        """What follows the prompt in a forward, ``[sequence, token]``; nothing where an answer is a token."""
        return self.ids[:, :-1] if self.ids.shape[1] > 1 else self.ids[:1, :0]

    def distribution(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities ``[row, value + 1]``, the last of something else: ``max(0, 1 - sum)``.

        Parameters
        ----------
        logits : Tensor
            ``[row, sequence, token, vocabulary]`` at the last token of the prompt and the tokens of `tails`.
        """
        chances = logits.log_softmax(-1, dtype=torch.float32)
        ids, real, owner = (one.to(logits.device) for one in (self.ids, self.real, self.owner))
        if ids.shape[1] == 1:
            likely = chances[:, 0, 0, ids[:, 0]]
        else:
            index = ids[None, :, :, None].expand(len(logits), -1, -1, -1)
            likely = chances.gather(-1, index)[..., 0].masked_fill(~real, 0.0).sum(-1)
        said = likely.new_zeros(len(logits), self.count).index_add(1, owner, likely.exp())
        return torch.cat([said, (1 - said.sum(-1, keepdim=True)).clamp_min(0)], -1)


def _encoder(tokenizer: Any) -> Callable[[str], tuple[int, ...]]:
    """From a text to its ids; a word that the tokenizer does not know counts as many tokens."""
    unknown = tokenizer.unk_token_id

    def encode(text: str) -> tuple[int, ...]:
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        return ids if ids != (unknown,) else ids * 2

    return encode


def _single(names: Sequence[str], encode: Callable[[str], tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """For each value its spellings of one token."""
    said_by: dict[tuple[int, ...], str] = {}
    found = []
    for name in names:
        texts = dict.fromkeys(lead + form(name) for lead in LEADS for form in FORMS)
        ids = list(dict.fromkeys(one for text in texts if len(one := encode(text)) == 1))
        if not ids:
            first = encode(" " + name)[:1]
            alike = [repr(other) for other in names if encode(" " + other)[:1] == first]
            shared = f", and {', '.join(alike)} begin with the same token" if len(alike) > 1 else ""
            raise SteerlabError(
                f"the value {name!r} is no single token in any spelling{shared}; read whole answers with "
                "reading='whole'"
            )
        for one in ids:
            if one in said_by:
                raise SteerlabError(
                    f"the values {said_by[one]!r} and {name!r} share a token: leave one out, or write them "
                    "so that they differ"
                )
        said_by |= dict.fromkeys(ids, name)
        found.append(ids)
    return found


def _whole(names: Sequence[str], encode: Callable[[str], tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """For each value its one spelling after a space; none begins with another one."""
    ids = [encode(" " + name) for name in names]
    for i, first in enumerate(ids):
        for j, second in enumerate(ids):
            if i != j and second[: len(first)] == first:
                raise SteerlabError(
                    f"the answer {names[j]!r} begins with the tokens of {names[i]!r}, so that its likelihood "
                    f"counts for both; write what ends an answer with each value, as in '{names[i]}.'"
                )
    return [[one] for one in ids]
