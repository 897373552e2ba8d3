"""From activations at a site to distributions over answers: what comes before them runs once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.atoms.stream import prepared
from steerlab.bases import Basis
from steerlab.edits import Edit, Replace
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.rewiring import rewired
from steerlab.sites import Site

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
    own : Tensor
        The activation that is there unedited, ``[dim]``.
    past : object, optional
        Keys and values of the tokens before it, computed once; None where they run again as well.
    """

    ids: torch.Tensor
    place: int
    own: torch.Tensor
    past: Any = None

    @property
    def is_last(self) -> bool:
        """Whether nothing but the written token runs again."""
        return self.past is not None and self.place == len(self.ids) - 1


@dataclass(frozen=True, eq=False)
class Answers:
    """Distributions over answers, as a function of the activation at one token of each prompt.

    Only tokens from the written one on run for every activation: keys and values of earlier ones do not
    depend on it; neither do the blocks before the site, which are left out where the written token is the
    last one. What is not run again is as it was when the prompts were prepared. Gradients flow to the
    activations. Call it with points ``[row, dim]``: each is written into every prompt, and distributions
    ``[row, prompt, value + 1]`` come out.

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
    skipped : tuple of int
        Blocks that need not run before a last token that is written.
    batch : int
        Rows that share a forward.
    """

    model: Model
    site: str
    prompts: tuple[Asked, ...]
    outcomes: Outcomes
    basis: Basis | None = None
    skipped: tuple[int, ...] = ()
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
        with self._short():
            return torch.stack([self._rows(one, edit, values) for one in self.prompts], 1)

    def unedited(self) -> torch.Tensor:
        """Distributions of the prompts as they are, ``[prompt, value + 1]``."""
        with self._short():
            return torch.cat([self._rows(one, None, torch.zeros(1, 1)) for one in self.prompts])

    def activations(self) -> torch.Tensor:
        """What is there unedited, ``[prompt, dim]``."""
        return torch.stack([one.own for one in self.prompts])

    def _short(self) -> AbstractContextManager[None]:
        """A context without the blocks that need not run."""
        if not self.skipped:
            return nullcontext()
        return rewired(self.model, dict.fromkeys(self.skipped), cached=True)

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
        receipt = None
        with ExitStack() as around:  # a waypoint may well lie where the activation is: not strict
            if edit is not None or self.skipped:
                change = None if edit is None else edit(values.repeat_interleave(sequences, 0)[:, None])
                if self.skipped:  # the edit is told the activation that those blocks would have given
                    own = one.own.expand(len(ids), 1, -1)
                    change = Replace(own if change is None else change(own))
                mask = torch.zeros(ids.shape[1], dtype=torch.bool)
                mask[one.place - begin] = True
                change = change if mask.all() else change.on(tokens=mask)
                receipt = around.enter_context(self.model.edit({self.site: change}, strict=False))
            logits = self.model.module(**inputs).logits
        if receipt is not None and not receipt.entries[0].fires:
            raise SteerlabError(f"{self.site} did not run, so nothing was written there")
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
    asked, at = [], str(model.site(site))
    for number, text in enumerate(prompts):
        ids = prepared(model, text)["input_ids"][0]
        place = len(ids) - 1 if words is None else place_of(model, site, text, words[number])
        own = model.capture({"input_ids": ids[None, : place + 1]}, at=at)[at][0, -1]
        past = None
        if reuse and place > 0:
            with torch.no_grad():
                past = model.module(input_ids=ids[None, :place], use_cache=True).past_key_values
        asked.append(Asked(ids, place, own, past))
    whole = Answers(model, at, tuple(asked), outcomes, basis)
    return shortened(whole) if reuse else whole


def shortened(answers: Answers) -> Answers:
    """The same without the blocks before the site, where the longest prompt shows that they are not needed.

    Families differ in what they hand from block to block, so this is tried out and not assumed.
    """
    site, outcomes = Site.parse(answers.site), answers.outcomes
    root, _, block = site.place.rpartition(".")
    alone = all(one.is_last for one in answers.prompts) and not outcomes.tails.shape[1]
    if root != "blocks" or site.stream != "resid" or block == "0" or not alone:
        return answers
    short = replace(answers, skipped=tuple(range(int(block))))
    longest = (max(answers.prompts, key=lambda one: len(one.ids)),)
    plain = replace(answers, prompts=longest).unedited()
    try:
        told = replace(short, prompts=longest).unedited()
    except (RuntimeError, IndexError, ValueError, SteerlabError):
        return answers  # such as blocks that see windows of their own, told apart by their places
    return short if torch.allclose(told, plain, rtol=1e-3, atol=1e-5) else answers


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
