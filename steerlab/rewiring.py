"""Blocks in another order, or with a surrogate in their place: what runs is exchanged, nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from steerlab import taps
from steerlab.errors import SteerlabError
from steerlab.fingerprint import Fingerprint, fingerprint
from steerlab.intervention import refuse_compiled
from steerlab.layouts import first_tensor, with_first
from steerlab.model import Model
from steerlab.recording import evaluating
from steerlab.surrogates import Surrogate


@dataclass(frozen=True, eq=False)
class Wiring:
    """An order in which blocks run.

    Parameters
    ----------
    order : sequence of int
        Blocks by number: ``[0, 1, 2, 2, 3]`` runs block 2 twice, a number that is missing is skipped.
    at : str
        The blocks, as in a site: ``"blocks"``, ``"vision.blocks"``.
    about : str
        What it does, in a sentence.
    licence, provenance, fits
        As for an `Intervention`.
    """

    applied_by: ClassVar[str] = "with sl.rewired(model, it): ..."

    order: Sequence[int]
    at: str = "blocks"
    about: str = ""
    licence: str | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)
    fits: Fingerprint | None = None

    def __post_init__(self) -> None:
        whole = [isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in self.order]
        if not whole or not all(whole):
            raise SteerlabError(f"order={list(self.order)}: give numbers of blocks, at least one of them")
        object.__setattr__(self, "order", tuple(self.order))

    def __repr__(self) -> str:
        return f"Wiring({self.at} in the order {', '.join(map(str, self.order))})"

    def stored(self) -> tuple[str, dict[str, object]]:
        """What a ``.steer`` file writes; what it knows of the model stands elsewhere in it."""
        return "Wiring", {"order": list(self.order), "at": self.at}


Rewired = Wiring | Surrogate


def wired(
    model: Model,
    order: Mapping[int, int | None] | Sequence[int],
    *,
    at: str = "blocks",
    about: str = "",
) -> Wiring:
    """An order as a value that knows its model, ready to be saved and to be given to `rewired`.

    Parameters
    ----------
    model : Model
        Whose blocks.
    order : mapping or sequence
        ``{3: 5}`` runs block 5 where block 3 was, ``{3: None}`` skips it; a list is the whole order.
    at : str
        The blocks, as in a site.
    about : str
        What it does, in a sentence.
    """
    blocks = _blocks(model, at)
    if isinstance(order, Mapping):
        for place in order:
            _check_number(place, at, blocks)
        every = [order.get(place, place) for place in range(len(blocks))]
        order = [block for block in every if block is not None]
    for block in order:
        _check_number(block, at, blocks)
    sites = [f"{at}.{block}.resid" for block in range(len(blocks))]
    return Wiring(order, at, about, fits=fingerprint(model._points, sites))


@contextmanager
def rewired(
    model: Model,
    wiring: Mapping[int, int | None] | Sequence[int] | Wiring | Surrogate,
    *,
    at: str = "blocks",
    cached: bool = False,
) -> Iterator[None]:
    """A context in which blocks run in another order, or a surrogate in the place of some of them.

    The blocks are shared: a block that runs twice has one set of weights and one set of hooks. Sites name
    blocks, not places in the order, so ``blocks.2.resid`` of a block that runs twice fires twice, and an edit
    at a block that is skipped, or that a surrogate stands for, never fires. Afterwards, exceptions included,
    the model is what it was.

    Parameters
    ----------
    model : Model
        Whose blocks.
    wiring : mapping, sequence, Wiring or Surrogate
        ``{3: 5}`` runs block 5 where block 3 was, ``{3: None}`` skips it; a list is the whole order.
    at : str
        The blocks, where `wiring` does not say it itself.
    cached : bool
        Whether blocks may go on from keys and values that the whole model kept, in single forwards. Only
        where blocks are left out, in their order: each then finds its own.

    Examples
    --------
    >>> with rewired(model, [0, 1, 2, 2, 3, 4, 5]):  # block 2 once more
    ...     deeper = model.capture(images, at="final")
    """
    known = isinstance(wiring, (Wiring, Surrogate))
    if not known:
        wiring = wired(model, wiring, at=at)
    if wiring.fits is not None:
        wiring.fits.check(model._points)
    blocks = _blocks(model, wiring.at)
    container = _container(model, wiring.at, blocks)
    if isinstance(wiring, Wiring):
        for block in wiring.order:
            _check_number(block, wiring.at, blocks)
        entries = [blocks[block] for block in wiring.order]
        if cached and any(b <= a for a, b in pairwise(wiring.order)):
            raise SteerlabError(f"{wiring!r}: with cached=True blocks can be left out, and not exchanged")
    elif cached:
        raise SteerlabError(f"{type(wiring).__name__}: it keeps no keys and values; leave cached=False")
    else:
        entries = _with_surrogate(model, wiring, blocks)
    entries = _fitted_in(entries, len(blocks))
    with ExitStack() as undo:
        undo.callback(_put, container, dict(container._modules))
        for block in dict.fromkeys((*blocks, *entries)):
            if not cached:
                undo.callback(taps.before(block, _refuse_cache))
        _put(container, {str(number): entry for number, entry in enumerate(entries)})
        for config in _configs(model.module):
            undo.callback(setattr, config, "use_cache", config.use_cache)
            config.use_cache = False
        _check_runs(model, wiring.at, entries)
        yield


def _blocks(model: Model, at: str) -> list[nn.Module]:
    if not isinstance(model.module, nn.Module):
        raise SteerlabError(
            f"rewired: {type(model.module).__name__} is a pipeline, whose blocks are several models'"
        )
    found = model._points.find(f"{at}.*.resid")
    refuse_compiled(found)
    return [point.module for _, point in found]


def _check_number(block: Any, at: str, blocks: Sequence[nn.Module]) -> None:
    whole = isinstance(block, int) and not isinstance(block, bool)
    if not whole or not 0 <= block < len(blocks):
        raise SteerlabError(f"{at}.{block}: there are {len(blocks)} blocks (0 to {len(blocks) - 1})")


def _container(model: Model, at: str, blocks: Sequence[nn.Module]) -> nn.Module:
    """The module whose children are the blocks and nothing else, in their order."""
    for module in model.module.modules():
        held = list(module._modules.values())
        if len(held) == len(blocks) and all(a is b for a, b in zip(held, blocks, strict=True)):
            if isinstance(module, (nn.ModuleList, nn.Sequential)):
                return module
    raise SteerlabError(
        f"{at}: these blocks do not stand together in one list as when the model was opened, so their "
        "order cannot be exchanged (another rewiring may be on: leave it first)"
    )


def _put(container: nn.Module, entries: Mapping[str, nn.Module]) -> None:
    container._modules.clear()
    container._modules.update(entries)


def _configs(module: nn.Module) -> list[Any]:
    """Configurations that would have the model keep keys and values, each once."""
    found = {
        id(c): c for m in module.modules() if getattr(c := getattr(m, "config", None), "use_cache", None)
    }
    return list(found.values())


def _refuse_cache(args: tuple, kwargs: dict[str, Any]) -> None:
    if kwargs.get("past_key_values") is not None:
        raise SteerlabError(
            "rewired blocks would mix up a cache that is kept block by block; "
            "call the model with use_cache=False"
        )


def _fitted_in(entries: list[nn.Module], places: int) -> list[nn.Module]:
    """No more entries than there were: models may count their blocks by their configuration."""
    if len(entries) <= places:
        return entries
    return [*entries[: places - 1], _InTurn(entries[places - 1 :])]


class _InTurn(nn.Module):
    """Several blocks at one place, each given what the one before gave."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def __getattr__(self, name: str) -> Any:
        """A model may ask a block what kind it is."""
        known = self.__dict__.get("_modules", {})
        return known[name] if name in known else getattr(known["blocks"][0], name)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the last block gives."""
        given = hidden_states
        for block in self.blocks:
            given = block(first_tensor(given), *args, **kwargs)
        return given


class _StandIn(nn.Module):
    """One application of a shared block at the place of one block."""

    def __init__(self, shared: nn.Module, layer: int, form: Any, original: nn.Module) -> None:
        super().__init__()
        self.shared, self.layer, self.form = shared, layer, form
        self.__dict__["original"] = original  # beside the children: its weights are not part of this module

    def __getattr__(self, name: str) -> Any:
        """A model may ask a block what kind it is."""
        known = self.__dict__.get("_modules", {})
        return known[name] if name in known else getattr(self.__dict__["original"], name)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The state one layer on, in the form in which the family's blocks give it."""
        made = self.shared(hidden_states.to(self.shared.gamma1.dtype), self.layer).to(hidden_states.dtype)
        return with_first(self.form, made)


def _with_surrogate(model: Model, surrogate: Surrogate, blocks: list[nn.Module]) -> list[nn.Module]:
    _check_number(surrogate.span[1] - 1, surrogate.at, blocks)
    forms: dict[nn.Module, Any] = {}
    with ExitStack() as undo:
        for block in blocks[slice(*surrogate.span)]:
            undo.callback(taps.after(block, lambda args, kwargs, out, b=block: forms.setdefault(b, out)))
        with evaluating(model.module):
            for module, kwargs in model.family.proving(model.module):
                module(**kwargs)
    entries = list(blocks)
    for number in range(*surrogate.span):
        form, block = forms[blocks[number]], blocks[number]
        if isinstance(form, (tuple, list)) and any(one is not None for one in form[1:]):
            raise SteerlabError(
                f"{surrogate.at}.{number} passes on more than the stream, which a surrogate does not make"
            )
        shared = surrogate.block_for(number).to(next(block.parameters()).device)
        entries[number] = _StandIn(shared, number + 1, form, block)
    return entries


def _check_runs(model: Model, at: str, entries: Sequence[nn.Module]) -> None:
    """Run the tiny proving inputs: what is wired must run as asked, or the model counts in its own way."""
    fired: list[nn.Module] = []
    with ExitStack() as undo:
        for entry in dict.fromkeys(entries):
            undo.callback(taps.before(entry, lambda args, kwargs, e=entry: fired.append(e)))
        with evaluating(model.module):
            for module, kwargs in model.family.proving(model.module):
                module(**kwargs)
    own = [entry for entry in fired if entry in set(entries)]
    rounds = len(own) // len(entries)
    if not rounds or own != list(entries) * rounds:
        raise SteerlabError(
            f"{at}: {type(model.module).__name__} does not run its list of blocks from first to last, "
            "so they cannot be put into another order"
        )
