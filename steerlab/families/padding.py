"""Padding moved to where a model that generates wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.errors import SteerlabError


def left_padded(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same inputs with the padding of every row before its tokens, where it was behind them.

    Parameters
    ----------
    kwargs : mapping
        Keyword arguments of a model; every tensor that starts like ``attention_mask``, ``[row, token]``, is
        moved along with it.
    """
    mask = kwargs.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2 or bool(mask[:, -1].all()):
        return dict(kwargs)
    if kwargs.get("past_key_values") is not None:
        raise SteerlabError(
            "past_key_values with padding on the right: what is cached cannot be moved; pad on the left"
        )
    trailing = mask.bool().flip(1).long().argmax(1, keepdim=True)  # [row, 1], 0 for a row of padding alone
    column = (torch.arange(mask.shape[1], device=mask.device) - trailing) % mask.shape[1]
    row = torch.arange(len(mask), device=mask.device)[:, None]
    return {
        name: value[row, column]
        if isinstance(value, torch.Tensor) and value.shape[:2] == mask.shape
        else value
        for name, value in kwargs.items()
    }
