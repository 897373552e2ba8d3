"""From a model that somebody has to a held one."""

from __future__ import annotations

from typing import Any

from torch import nn

from steerlab.errors import SteerlabError, listing
from steerlab.families import FAMILIES, Family, family_of
from steerlab.foreign import kind_of, unwrapped
from steerlab.model import Model


def wrap(model: Any, processor: Any = None, *, family: Family | str | None = None) -> Model:
    """Hold a model that you have.

    Parameters
    ----------
    model : nn.Module, diffusers pipeline or nnsight model
        Used as it is; nothing of it is copied or replaced.
    processor : object, optional
        Tokenizer or image processor, for text and images as inputs and for ``"word:..."``.
    family : Family or str, optional
        The row to use; found by the model's type otherwise. ``"plain"`` opens any module by paths.

    Examples
    --------
    >>> model = wrap(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    >>> model.capture(torch.zeros(1, 2), at="module:0")["module:0"].shape
    torch.Size([1, 2])
    """
    module, processor = unwrapped(model, processor)
    if isinstance(family, str):
        family = FAMILIES[family]
    if family is not None and not isinstance(family, Family):
        raise SteerlabError(f"family={family!r}: give the name of a family or a Family(...)")
    if family is None:
        family = family_of(module)
    if family is None:
        if not isinstance(module, nn.Module):
            raise SteerlabError(
                f"cannot wrap {kind_of(model)}: give an nn.Module, a diffusers pipeline "
                f"({listing(name for f in FAMILIES.values() for name in f.types if 'Pipeline' in name)}) "
                "or an nnsight model"
            )
        family = FAMILIES["plain"]
    return Model(module, family, processor, model)
