"""An edit put into the weights, where that is exactly the same: no hook is left, and no call is added.

Every edit that is the same for all tokens and maps ``x -> x M + c`` goes into the linear layer that writes
the site (``attn``, ``mlp``) or reads it (``heads``, ``mlp.act``). At ``resid`` only a vector can be added,
because earlier blocks have written the rest of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from steerlab.bases import Subspace
from steerlab.comparing import main_output
from steerlab.editing import Arm, Editing
from steerlab.edits import Add, Edit, Remove, Scale, Zero
from steerlab.edits.project import Project
from steerlab.errors import SteerlabError
from steerlab.families import Family
from steerlab.intervention import Changes, Placed, placed
from steerlab.layers import Layer, layer_of
from steerlab.points import Points
from steerlab.proof.findings import tolerance
from steerlab.recording import evaluating
from steerlab.sites import Site
from steerlab.taps import changed_by_us

AFFINE = (Add, Project, Remove, Scale, Zero)
# in which order a block computes them
ORDER = {"heads": 0, "mlp.act": 0, "attn": 1, "mlp": 1, "resid": 2}
_FOLDED: set[nn.Module] = set()


class Held(Protocol):
    """What is needed of a held model."""

    module: Any
    family: Family
    _points: Points

    def _clock(self) -> Any: ...


@dataclass(frozen=True)
class _Step:
    """One edit on its way into one layer."""

    site: Site
    edit: Edit
    layer: Layer
    columns: tuple[slice, ...] = ()


class Folding:
    """A context in which an intervention is part of the weights; made by `Model.fold`.

    The model computes with other parameters inside, and has its own objects back after it. It is meant for
    inference: what is trained inside is thrown away. A site that is read inside shows what its layer now
    writes: a vector that was added at ``resid`` is seen at ``mlp`` already.

    Parameters
    ----------
    model : Held
        The model.
    intervention : dict
        Sites and edits, without scopes.

    Attributes
    ----------
    layers : list of str
        Paths of the layers whose weights change.
    off : float
        Largest difference from the same edits as hooks, in units of the largest output; known inside.
    """

    def __init__(self, model: Held, intervention: Changes) -> None:
        if not isinstance(model.module, nn.Module):
            raise SteerlabError(
                f"fold: {type(model.module).__name__} is a pipeline of several models; use edit(...)"
            )
        self._model = model
        self._steps = [
            _step(model, one) for one in sorted(placed(intervention, model._points), key=_place_in_block)
        ]
        self._intervention = intervention
        names = {module: name for name, module in model.module.named_modules()}
        self.layers = list(dict.fromkeys(names[step.layer.module] for step in self._steps))
        self.off = float("nan")
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Folding:
        if self._undo:
            raise SteerlabError("this context is entered already; make a new one with model.fold(...)")
        _refuse_busy(self._model.module, self._steps)
        with evaluating(self._model.module):
            editing = Editing(self._model._points, self._model._clock(), [Arm(self._intervention)])
            with editing:
                hooked = self._outputs()
        try:
            for step in self._steps:
                if step.layer.module not in _FOLDED:
                    self._undo.append(_restorer(step.layer))
                _put_in(step)
            with evaluating(self._model.module):
                self._check(hooked, self._outputs())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *fault: object) -> None:
        while self._undo:
            self._undo.pop()()

    def _outputs(self) -> list[torch.Tensor]:
        forwards = self._model.family.proving(self._model.module)
        return [main_output(module(**kwargs), {}).float() for module, kwargs in forwards]

    def _check(self, hooked: list[torch.Tensor], folded: list[torch.Tensor]) -> None:
        """Refuse weights that do not do what the hooks did."""
        pairs = list(zip(hooked, folded, strict=True))
        self.off = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs)
        most = max(tolerance(weight) for weight in (step.layer.weight for step in self._steps))
        if not self.off <= most:
            raise SteerlabError(
                f"{', '.join(self.layers)}: with the edit in the weights the output is off by "
                f"{self.off:.1e}, so something between them and the site is not linear; use edit(...)"
            )


def _place_in_block(one: Placed) -> int:
    return ORDER.get(one[0].stream, 0)


def _step(model: Held, one: Placed) -> _Step:
    """Where an edit goes, or why it cannot."""
    site, point, scoped = one
    edit = scoped.edit
    if not scoped.scope.everything:
        raise SteerlabError(
            f"{site}: {scoped!r} acts on some entries only, and weights are the same for all; use edit(...)"
        )
    basis = getattr(edit, "basis", None)
    follows_the_stream = isinstance(edit, Add) and edit.unit != "raw"
    linear = basis is None or isinstance(basis, Subspace)
    if type(edit) not in AFFINE or not linear or follows_the_stream:
        raise SteerlabError(
            f"{site}: {edit!r} is not a fixed linear map; Add, Zero, Scale, Remove and Project of linear "
            "coordinates are"
        )
    if site.stream not in ORDER:
        raise SteerlabError(
            f"{site}: no weights write it alone; an edit goes into the weights at resid, attn, mlp, heads "
            "or mlp.act"
        )
    if site.stream == "resid" and not isinstance(edit, Add):
        raise SteerlabError(
            f"{site}: earlier blocks have written this stream too, so only Add goes into the weights here"
        )
    layer = layer_of(model.module, model._points, site, point)
    if ORDER[site.stream]:
        return _Step(site, edit, layer)
    width = layer.weight.shape[1] // max(1, point.heads)
    heads = site.select(point.heads) if site.heads else range(max(1, point.heads))
    heads = [heads] if isinstance(heads, int) else heads
    return _Step(site, edit, layer, tuple(slice(h * width, (h + 1) * width) for h in heads))


def _put_in(step: _Step) -> None:
    """Exchange the layer's parameters for those that do what the edit does."""
    layer = step.layer
    weight, bias = layer.weight.double(), layer.bias.double()
    if step.columns:
        weight = weight.clone()
        for columns in step.columns:  # x M + c at the input: W x becomes W Mᵀ x + W c
            matrix, shift = _affine(step, weight[:, columns].shape[1], weight.device)
            bias = bias + weight[:, columns] @ shift
            if matrix is not None:
                weight[:, columns] = weight[:, columns] @ matrix.T
    else:
        matrix, shift = _affine(step, len(weight), weight.device)
        if matrix is not None:
            weight, bias = matrix.T @ weight, bias @ matrix
        bias = bias + shift
    layer.put(weight.to(layer.weight.dtype), bias.to(layer.weight.dtype))


def _affine(step: _Step, dim: int, device: torch.device) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The edit as ``x M + c``: M ``[dim, dim]``, None where it is the identity, and c ``[dim]``."""
    eye = torch.eye(dim, dtype=torch.float64, device=device)[None]
    try:
        shift, moved = step.edit(torch.zeros_like(eye)), step.edit(eye)
    except SteerlabError as fact:
        raise SteerlabError(f"{step.site}: {fact}") from None
    if shift.shape != eye.shape or not bool((shift == shift[:, :1]).all()):
        raise SteerlabError(f"{step.site}: {step.edit!r} is not the same for all tokens; use edit(...)")
    matrix = (moved - shift)[0]
    return (None if bool((matrix - eye[0]).abs().max() < 1e-9) else matrix), shift[0, 0]


def _refuse_busy(model: nn.Module, steps: Iterable[_Step]) -> None:
    busy = changed_by_us(model)
    if busy:
        raise SteerlabError(
            f"another edit is at work on {type(busy).__name__}; enter fold(...) first, and edits inside of it"
        )
    for step in steps:
        if step.layer.module in _FOLDED:
            raise SteerlabError(f"{step.site}: an edit is in these weights already; put both into one fold")


def _restorer(layer: Layer) -> Callable[[], None]:
    """Remember a layer's own parameters; returns what puts these very objects back."""
    table = layer.module._parameters
    own = dict(table)
    _FOLDED.add(layer.module)

    def restore() -> None:
        _FOLDED.discard(layer.module)
        table.update(own)

    return restore
