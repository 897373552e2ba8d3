"""Parts of an activation that can be masked one by one: the codes of atoms, and heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.atoms.stream import Heard, listened, reads_of, site_of, usual_tokens
from steerlab.bases import Dictionary
from steerlab.comparing import main_output
from steerlab.edits import Edit, Fn, RandomControl, Scoped, Zero, across
from steerlab.edits.base import wide
from steerlab.entrances import what_to_call
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.model import Model
from steerlab.tokens import TokenChoice

Masked = Callable[[torch.Tensor], Changes]


@dataclass(frozen=True, eq=False)
class Parts:
    """Named parts of a model's activations, and how to take them away.

    Parameters
    ----------
    names : list of str
        One a part.
    masked : callable
        From masks ``[row or 1, part]`` to the intervention that multiplies each part by its own; 1 leaves it
        as it is, and gradients flow to the masks.
    ablated : callable
        From the number of a part to the intervention that takes it away.
    control : callable
        From the number of a part to a random change as large, entry by entry.
    """

    names: list[str]
    masked: Masked
    ablated: Callable[[int], Changes]
    control: Callable[[int], Changes]


def atoms_of(
    model: Model,
    dictionary: Dictionary,
    inputs: Any,
    atoms: Sequence[int] | int | None,
    tokens: TokenChoice | None,
) -> Parts:
    """The codes of some atoms, or of all that are active in the inputs, at some tokens."""
    site = site_of(model, dictionary)
    reads = reads_of(model, dictionary, site)
    heard = next(iter(listened(model, dictionary, [inputs], site=site, tokens=tokens)))
    where = usual_tokens(heard.tokens) if tokens is None else tokens
    numbers = _active(dictionary, heard) if atoms is None else dictionary.numbers(atoms)
    if not len(numbers):
        raise SteerlabError(f"no atom of {dictionary!r} is active in these inputs")

    def edits(make: Callable[[Dictionary], Edit]) -> Changes:
        def scoped(own: Dictionary) -> Edit | Scoped:
            return make(own) if where is None else make(own).on(tokens=where)

        if dictionary.is_transcoder:
            return across(dictionary, scoped, reads=str(reads), writes=str(site))
        return {site: scoped(dictionary)}

    def masked(masks: torch.Tensor) -> Changes:
        def make(own: Dictionary) -> Edit:
            part = own.only(numbers)

            def scaled(x: torch.Tensor) -> torch.Tensor:
                y = part.moved(wide(x), lambda z: z * _beside(masks, z, z.ndim - 2))
                return y.to(x.dtype)

            return Fn(scaled)

        return edits(make)

    def ablation(own: Dictionary, i: int) -> Edit:
        return Zero(own.only([int(numbers[i])]))

    return Parts(
        names=[str(int(i)) for i in numbers],
        masked=masked,
        ablated=lambda i: edits(lambda own: ablation(own, i)),
        control=lambda i: edits(lambda own: RandomControl(ablation(own, i), seed=i)),
    )


def active_atoms(
    model: Model, dictionary: Dictionary, inputs: Any, *, tokens: TokenChoice | None = None
) -> torch.Tensor:
    """Numbers ``[m]`` of the atoms whose code is not 0 at some token of the inputs.

    Parameters
    ----------
    model : Model
        Whose activations.
    dictionary : Dictionary
        At its own site; see `steerlab.atoms.at_site`.
    inputs : object
        One batch.
    tokens : optional
        Which tokens; by default all that are not padding, in texts all but the first.
    """
    site = site_of(model, dictionary)
    return _active(dictionary, next(iter(listened(model, dictionary, [inputs], site=site, tokens=tokens))))


def _active(dictionary: Dictionary, heard: Heard) -> torch.Tensor:
    source, _ = heard.entries()
    return (dictionary.encode(source) != 0).any(0).nonzero()[:, 0].cpu()


def heads_of(model: Model, at: str) -> Parts:
    """All single heads at the matching ``heads`` sites."""
    sites = model.heads(at)
    # heads of one block are masked together, by one edit
    blocks = {site.whole: [i for i, one in enumerate(sites) if one.whole == site.whole] for site in sites}

    def masked(masks: torch.Tensor) -> Changes:
        def at_block(columns: list[int]) -> Edit:
            own = masks[:, columns]
            return Fn(lambda x: (x * _beside(own, x[..., 0], x.ndim - 3)[..., None]).to(x.dtype))

        return {block: at_block(columns) for block, columns in blocks.items()}

    return Parts(
        names=[str(site) for site in sites],
        masked=masked,
        ablated=lambda i: {sites[i]: Zero()},
        control=lambda i: {sites[i]: RandomControl(Zero(), seed=i)},
    )


def run(model: Model, kwargs: dict[str, Any], change: Changes) -> torch.Tensor:
    """The main output ``[row, ...]`` under an intervention; of the edited tower, where it runs alone."""
    editing = model.edit(change, strict=False)
    call, own = what_to_call(model.module, model.family, editing.towers(), kwargs)
    with editing:
        output = call(**own)
    return main_output(output, own)


def _beside(masks: torch.Tensor, x: torch.Tensor, axes: int) -> torch.Tensor:
    """Masks ``[row or 1, part]`` as ``[row or 1, 1, ..., part]`` beside ``x`` ``[row, ..., part]``."""
    own = masks.to(x)
    if own.shape[0] not in (1, x.shape[0]):  # frames or places folded into the batch
        own = own.repeat_interleave(x.shape[0] // own.shape[0], 0)
    return own.reshape(own.shape[0], *[1] * axes, own.shape[-1])
