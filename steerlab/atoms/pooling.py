"""One code vector a sample, from activations or codes, pooled over tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from steerlab.bases import Dictionary
from steerlab.edits import Edit, across
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.numerics.preference import pool_codes

Samples = torch.Tensor | Iterable[torch.Tensor]


def pooled(dictionary: Dictionary, samples: Samples, *, how: str = "max") -> torch.Tensor:
    """Codes ``[sample, atom]`` of activations, or codes as they are, pooled over the tokens of a sample.

    Parameters
    ----------
    dictionary : Dictionary
        Which encodes activations; a last axis as long as it has atoms holds codes already (where both
        widths are the same, activations are meant).
    samples : Tensor or iterable of Tensor
        ``[sample, width]`` or ``[sample, token, width]``; or one tensor a sample ``[token, width]``, of any
        length, or batches ``[sample, token, width]``. Batches are encoded one after another, and one code
        vector a sample is kept.
    how : str
        ``"max"`` or ``"mean"`` over tokens.
    """
    if how not in ("max", "mean"):
        raise SteerlabError(f"how={how!r}: codes are pooled by 'max' or 'mean'")
    if isinstance(samples, torch.Tensor):
        if samples.ndim == 2:
            return _codes(dictionary, samples).float().cpu()
        samples = [samples]
    rows = []
    for one in samples:
        if one.ndim not in (2, 3) or not one.numel():
            raise SteerlabError(
                f"a sample is [token, width], a batch of them [sample, token, width], not {list(one.shape)}"
            )
        codes = _codes(dictionary, one)
        rows.append(pool_codes(codes if codes.ndim == 3 else codes[None], how=how).float().cpu())
    if not rows:
        raise SteerlabError("no samples to compare")
    return torch.cat(rows)


def placed_at(dictionary: Dictionary, make: Callable[[Dictionary], Edit]) -> Changes:
    """An edit in a dictionary's coordinates, at the site where it acts."""
    if dictionary.is_transcoder:
        return across(dictionary, make)
    if dictionary.site is None:
        raise SteerlabError(
            f"{dictionary!r}: an intervention needs a site; name it: "
            "sl.atoms.at_site(dictionary, 'blocks.3.resid')"
        )
    return {str(dictionary.site): make(dictionary)}


def _codes(dictionary: Dictionary, values: torch.Tensor) -> torch.Tensor:
    if values.shape[-1] == dictionary.reads:
        with torch.no_grad():
            return dictionary.encode(values)
    if values.shape[-1] != len(dictionary):
        raise SteerlabError(
            f"{dictionary!r} takes activations of {dictionary.reads} dimensions or {len(dictionary)} codes, "
            f"not {list(values.shape)}"
        )
    return values
