"""Atom numbers, checked against how many atoms there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.errors import SteerlabError


def atom_numbers(atoms: int | Sequence[int] | torch.Tensor, count: int) -> torch.Tensor:
    """Numbers ``[m]`` in 0 to ``count - 1``, from one, some (negative ones too) or a mask ``[count]``."""
    mask = isinstance(atoms, torch.Tensor) and atoms.dtype == torch.bool
    if mask and atoms.shape != (count,):
        raise SteerlabError(f"a mask of atoms is [{count}], not {list(atoms.shape)}")
    index = atoms.nonzero()[:, 0] if mask else torch.as_tensor(atoms).reshape(-1)
    if index.is_floating_point() or index.dtype == torch.bool or not len(index):
        raise SteerlabError(f"atoms={atoms!r}: give one number or some, or a mask [{count}]")
    bad = index[(index < -count) | (index >= count)]
    if len(bad):
        raise SteerlabError(f"atom {int(bad[0])}: this dictionary has {count} atoms (0 to {count - 1})")
    index = index.long() % count
    if len(index.unique()) != len(index):
        raise SteerlabError(f"atoms={atoms!r}: an atom is named twice")
    return index
