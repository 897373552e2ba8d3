"""How likely a language model finds some endings against others, and how far it is from itself elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.divergence import kl_tokens
from steerlab.tokens import TokenMap


@dataclass(frozen=True, eq=False)
class Endings:
    """Endings after each of some contexts.

    Parameters
    ----------
    model : Model
        A language model with its tokenizer.
    rows : list of list of str
        For each context its texts: first those whose ending is wanted.
    tokens : list of (Tensor, Tensor)
        For each context ids and, boolean, which of them belong to an ending, ``[text, token]`` each.
    wanted : int
        How many endings are wanted.
    """

    model: Model
    rows: list[list[str]]
    tokens: list[tuple[torch.Tensor, torch.Tensor]]
    wanted: int

    @staticmethod
    def of(
        model: Model, at: str, contexts: Sequence[str], toward: Sequence[str], away: Sequence[str]
    ) -> Endings:
        """Every ending after every context; `at` is any site of the model, where the tokens are learnt."""
        rows = [[context + ending for ending in (*toward, *away)] for context in contexts]
        tokens = []
        for context, texts in zip(contexts, rows, strict=True):
            ids, real = read_tokens(model, at, texts)
            begin = read_tokens(model, at, [context])[0].shape[1]
            own = (real.cumsum(1) > begin) & real
            if not bool(own.any(1).all()):
                raise SteerlabError(f"an ending adds no token to {context!r}: begin it with a space")
            tokens.append((ids, own))
        return Endings(model, rows, tokens, len(toward))

    def score(self, edit: Changes | None = None, *, backwards: bool = False) -> float:
        """Mean log-likelihood of a token of the wanted endings less that of the others, in nats.

        Our own definition: likelihoods are averaged over the tokens of an ending first, so that long endings
        weigh no more than short ones. `backwards` exchanges the rows of each batch, which changes nothing but
        the rounding.
        """
        what = f"endings {edit} {backwards}"
        numbers = range(len(self.rows))
        found = [kept(f"{what} {i}", lambda i=i: self._score(i, edit, backwards)) for i in numbers]
        return float(sum(found)) / len(found)

    def _score(self, context: int, edit: Changes | None, backwards: bool) -> torch.Tensor:
        """The score after one context, ``[]``."""
        texts, (ids, own) = self.rows[context], self.tokens[context]
        with self.model.edit(edit) if edit is not None else nullcontext():
            logits = self.model.logits(texts[:: -1 if backwards else 1]).float().cpu()
        chances = (logits.flip(0) if backwards else logits)[:, :-1].log_softmax(-1)
        means = chances.gather(2, ids[:, 1:, None])[..., 0].mul(own[:, 1:]).sum(1) / own.sum(1)
        return (means[: self.wanted].mean() - means[self.wanted :].mean()).double()


@dataclass(frozen=True, eq=False)
class Cost:
    """What an edit does to texts that it should leave alone.

    Parameters
    ----------
    model : Model
        A language model with its tokenizer.
    texts : list of str
        The control texts.
    base : Tensor
        Logits of the base, ``[text, token, vocabulary]``.
    real : Tensor
        Boolean ``[text, token]``: what is not padding.
    """

    model: Model
    texts: list[str]
    base: torch.Tensor
    real: torch.Tensor

    @staticmethod
    def of(model: Model, at: str, texts: Sequence[str]) -> Cost:
        """On some control texts."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts) or not len(texts):
            raise SteerlabError("the data of this analyzer are control texts: give a list of texts")
        return Cost(model, list(texts), model.logits(list(texts)), read_tokens(model, at, list(texts))[1])

    def divergence(self, edit: Changes | None = None, *, backwards: bool = False) -> float:
        """Mean ``KL(base || edited)`` over the tokens, in nats; `backwards` as in `Endings.score`."""
        return float(kept(f"cost {edit} {backwards}", lambda: self._divergence(edit, backwards)))

    def _divergence(self, edit: Changes | None, backwards: bool) -> torch.Tensor:
        with self.model.edit(edit) if edit is not None else nullcontext():
            logits = self.model.logits(self.texts[:: -1 if backwards else 1])
        edited = logits.flip(0) if backwards else logits
        return kl_tokens(self.base, edited)[self.real.to(self.base.device)].mean().double()


def read_tokens(model: Model, at: str, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and what is not padding, ``[text, token]`` each."""
    tokens: TokenMap = model.capture(list(texts), at=at).map_of(at)
    if tokens.ids is None:
        raise SteerlabError(f"{at}: this site reads no texts; the analyzer is for language models")
    ids = tokens.ids.cpu()
    return ids, torch.ones_like(ids, dtype=torch.bool) if tokens.real is None else tokens.real.bool().cpu()
