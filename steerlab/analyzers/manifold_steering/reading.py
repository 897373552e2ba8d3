"""From activations at a site to distributions over answers: what comes before them runs once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.atoms.stream import prepared
from steerlab.bases import Basis
from steerlab.edits import Edit, Replace
from steerlab.errors import SteerlabError
from steerlab.model import Model

Maker = Callable[[torch.Tensor], Edit]


@dataclass(frozen=True, eq=False)
class Asked:
    """One prompt, cut where an activation is written.

    Parameters
    ----------
    ids : Tensor
        All its tokens, ``[token]``.
    place : int
        The token whose activation is written; what follows it runs again for every activation.
    past : object, optional
        Keys and values of the tokens before it, computed once; None where they run again as well.
    """

    ids: torch.Tensor
    place: int
    past: Any = None


@dataclass(frozen=True, eq=False)
class Answers:
    """Distributions over answers, as a function of the activation at one token of each prompt.

    Only tokens from the written one on run for every activation: keys and values of earlier ones do not
    depend on it. Gradients flow to the activations. Call it with points ``[row, dim]``: each is written into
    every prompt, and distributions ``[row, prompt, value + 1]`` come out.

    Parameters
    ----------
    model : Model
        A language model.
    site : str
        Where activations are written.
    prompts : tuple of Asked
        The prompts.
    outcomes : Outcomes
        The answers.
    basis : Basis, optional
        What of an activation a point replaces; all of it without one.
    batch : int
        Rows that share a forward.
    """

    model: Model
    site: str
    prompts: tuple[Asked, ...]
    outcomes: Outcomes
    basis: Basis | None = None
    batch: int = 64

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Distributions ``[row, prompt, value + 1]`` with points ``[row, dim]`` in place."""
        return self.under(lambda some: Replace(some, self.basis), points)

    def under(self, edit: Maker, values: torch.Tensor) -> torch.Tensor:
        """Distributions ``[row, prompt, value + 1]`` under an edit that has a value of its own in each row.

        Parameters
        ----------
        edit : callable
            From values ``[row, 1, number]`` to the edit of a batch of as many rows.
        values : Tensor
            ``[row, number]``.
        """
        return torch.stack([self._rows(one, edit, values) for one in self.prompts], 1)

    def unedited(self) -> torch.Tensor:
        """Distributions of the prompts as they are, ``[prompt, value + 1]``."""
        return torch.cat([self._rows(one, None, torch.zeros(1, 1)) for one in self.prompts])

    def activations(self) -> torch.Tensor:
        """What is there unedited, ``[prompt, dim]``."""
        found = []
        for one in self.prompts:
            acts = self.model.capture({"input_ids": one.ids[None, : one.place + 1]}, at=self.site)
            found.append(acts[self.site][0, -1])
        return torch.stack(found)

    def _rows(self, one: Asked, edit: Maker | None, values: torch.Tensor) -> torch.Tensor:
        """``[row, value + 1]`` of one prompt, some rows at a time."""
        at_once = max(1, self.batch // len(self.outcomes.tails))
        parts = values.split(at_once)
        with torch.set_grad_enabled(values.requires_grad):
            return torch.cat([self._forward(one, edit, part) for part in parts])

    def _forward(self, one: Asked, edit: Maker | None, values: torch.Tensor) -> torch.Tensor:
        tails = self.outcomes.tails.to(one.ids.device)
        rows, sequences = len(values), len(tails)
        begin = 0 if one.past is None else one.place
        asked = one.ids[begin:].expand(sequences, -1)
        ids = torch.cat([asked, tails], 1).repeat(rows, 1)
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": one.past is not None}
        if one.past is not None:
            inputs["past_key_values"] = repeated(one.past, len(ids))
        context = nullcontext()
        if edit is not None:
            change = edit(values.repeat_interleave(sequences, 0)[:, None])
            mask = torch.zeros(ids.shape[1], dtype=torch.bool)
            mask[one.place - begin] = True
            context = self.model.edit({self.site: change if mask.all() else change.on(tokens=mask)})
        with context:
            logits = self.model.module(**inputs).logits
        last = asked.shape[1] - 1
        return self.outcomes.distribution(logits[:, last:].unflatten(0, (rows, sequences)))


def answers_at(
    model: Model,
    prompts: Sequence[str],
    site: str,
    outcomes: Outcomes,
    *,
    words: Sequence[str] | None = None,
    basis: Basis | None = None,
    reuse: bool = True,
) -> Answers:
    """The function from activations at a site to distributions over answers.

    Parameters
    ----------
    model : Model
        A language model with its tokenizer.
    prompts : sequence of str
        Texts whose next token is the answer.
    site : str
        One site with an entry a token, such as ``"blocks.14.resid"``.
    outcomes : Outcomes
        The answers.
    words : sequence of str, optional
        For each prompt the word whose last token is written, where it stands last in the text; without them
        that is the last token of the prompt.
    basis : Basis, optional
        What of an activation a point replaces, such as ``manifold.subspace``.
    reuse : bool
        Whether keys and values before the written token are kept; else every prompt runs whole.
    """
    asked = []
    for number, text in enumerate(prompts):
        ids = prepared(model, text)["input_ids"][0]
        place = len(ids) - 1 if words is None else place_of(model, site, text, words[number])
        past = None
        if reuse and place > 0:
            with torch.no_grad():
                past = model.module(input_ids=ids[None, :place], use_cache=True).past_key_values
        asked.append(Asked(ids, place, past))
    return Answers(model, str(model.site(site)), tuple(asked), outcomes, basis)


def place_of(model: Model, site: str, text: str, word: str) -> int:
    """Which token of a text is the last one of a word, where the word stands for the last time."""
    acts = model.capture(text, at=site)
    found = acts.map_of(site).select(f"word:{word}")[0].nonzero()[:, 0]
    if not len(found):
        raise SteerlabError(f"{word!r} is no word of {text!r}")
    return int(found[-1])


def repeated(past: Any, rows: int) -> Any:
    """The same keys and values for so many rows; the given ones stay as they are."""
    mine = copy.deepcopy(past)
    mine.batch_repeat_interleave(rows)
    return mine
