"""Perplexity of texts from some place on, under interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.keeping import kept
from steerlab.model import Model


def losses(
    model: Model, texts: Sequence[str], arms: Mapping[str, Changes | None], *, begin: int
) -> dict[str, torch.Tensor]:
    """Negative log-likelihoods in nats of the tokens from number `begin` on, text after text.

    Parameters
    ----------
    model : Model
        A language model with its tokenizer.
    texts : list of str
        Each of more than `begin` tokens.
    arms : mapping
        Interventions by name; None for the model as it is.
    begin : int
        The first token that counts, by its place in the text.

    Returns
    -------
    dict
        By name, ``[token]`` in float64.
    """
    from tqdm.auto import tqdm

    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise SteerlabError("this analyzer is for language models: give a list of texts")
    found: dict[str, list[torch.Tensor]] = {name: [] for name in arms}
    for number, text in enumerate(tqdm(texts, desc="texts", disable=None, leave=False)):
        for name, arm in arms.items():
            one = kept(
                f"losses {number} {name} {arm} {begin}", lambda t=text, a=arm: _losses(model, t, a, begin)
            )
            found[name].append(one)
    return {name: torch.cat(parts) for name, parts in found.items()}


def _losses(model: Model, text: str, arm: Changes | None, begin: int) -> torch.Tensor:
    site = str(model.sites("embed")[0])
    ids: Any = model.capture([text], site).map_of(site).ids
    if ids is None:
        raise SteerlabError("this analyzer is for language models, whose inputs are texts")
    if ids.shape[1] <= begin:
        raise SteerlabError(
            f"a text of {ids.shape[1]} tokens is too short: tokens count from number {begin} on"
        )
    if arm is None:
        logits = model.logits([text])
    else:
        with model.edit(arm, strict=False):
            logits = model.logits([text])
    chances = logits[0, begin - 1 : -1].double().log_softmax(-1)
    return -chances.gather(1, ids[0, begin:, None].to(chances.device))[:, 0].cpu()
