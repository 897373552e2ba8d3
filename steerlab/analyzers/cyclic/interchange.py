"""Interchange: what a model says when part of an activation comes from another prompt."""

from __future__ import annotations

from typing import Any

import torch

from steerlab.bases import Basis, FourierCode, Subspace
from steerlab.edits import Replace
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.tokens import TokenChoice


def interchange(
    model: Model,
    site: str,
    basis: Basis | None,
    source: Any,
    base: Any,
    *,
    tokens: TokenChoice = "last",
) -> torch.Tensor:
    """Logits of the base prompts with coordinates of the source prompts, ``[row, vocabulary]``.

    ``h' = U U^T h_source + (1 - U U^T) h_base`` (arXiv 2605.01148). The share of rows whose likeliest token
    is what the source's coordinates would give is the interchange accuracy.

    Parameters
    ----------
    model : Model
        A language model.
    site : str
        One site.
    basis : Basis or None
        What is exchanged: a `Subspace`, a code; everything without one.
    source, base : list of str
        As many of each.
    tokens : optional
        Where, one token a row; the last by default.
    """
    at = str(model.site(site))
    given = model.capture(source, at, tokens=tokens)[at]
    if given.shape[1] != 1:
        raise SteerlabError(f"tokens={tokens!r} are {given.shape[1]} tokens a row; choose one")
    coordinates = basis.subspace if isinstance(basis, FourierCode) else basis
    with model.edit({at: Replace(given, coordinates).on(tokens=tokens)}):
        return model.capture(base, "logits", tokens="last")["logits"][:, -1]


def union(*subspaces: Subspace) -> Subspace:
    """The subspace that holds several, for an interchange between tasks (arXiv 2605.01148)."""
    return Subspace(torch.cat([one.atoms for one in subspaces]))
