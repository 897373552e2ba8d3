"""Activations of texts as sequences of equal length, read text by text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model


def sequences(model: Model, texts: Sequence[str], site: str, tokens: int) -> torch.Tensor:
    """The first tokens of each text at a site, ``[text, token, dim]`` in float32.

    Parameters
    ----------
    model : Model
        A language model.
    texts : list of str
        Each of at least `tokens` tokens.
    site : str
        One site.
    tokens : int
        How many of each; texts are read one by one, so that nothing is padding.
    """
    found = []
    for text in tqdm(texts, desc="sequences", disable=None, leave=False):

        def read(text: str = text) -> torch.Tensor:
            return model.capture([text], at=site)[site][0].float().cpu()

        x = kept(f"sequence at {site} of {text}", read)
        if len(x) < tokens:
            raise SteerlabError(f"a text has {len(x)} tokens, {tokens} are needed: {text[:60]!r}")
        found.append(x[:tokens])
    return torch.stack(found)
