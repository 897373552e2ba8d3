"""How much each atom or head matters for one number of the output: ablation, gradient, Sobol indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steerlab.atoms.agreement import shared_top, spearman
from steerlab.atoms.outputs import Output, scalar_of
from steerlab.atoms.parts import Parts, atoms_of, heads_of, run
from steerlab.atoms.stream import prepared
from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.comparing import repeated
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.model import Model
from steerlab.numerics.sobol import SobolIndices, sobol_indices, sobol_masks
from steerlab.tokens import TokenChoice

CONTROLLED = 8  # strongest parts that get a random change of equal size beside them
DESIGNS = 64  # rows of a Sobol design; the forwards are this times (parts + 2) times the inputs
MOST = 256  # parts of a Sobol design
BATCH = 8  # interventions that share a forward


@dataclass(frozen=True)
class Agreement:
    """Two ways of telling what matters.

    Attributes
    ----------
    spearman : float
        Correlation of ranks over parts, of the mean over rows.
    top_tenth : float
        Part of the strongest tenth of one that is in the strongest tenth of the other; 0.1 by chance.
    """

    spearman: float
    top_tenth: float

    def __str__(self) -> str:
        return f"rank correlation {self.spearman:.3f}, strongest tenth shared {self.top_tenth:.0%}"


@dataclass(frozen=True, eq=False)
class Importance:
    """What each part does for one number of the output.

    Attributes
    ----------
    names : list of str
        Parts: atom numbers, or sites of heads.
    values : Tensor
        ``[part, row]``. By ablation: how much the number falls when the part is taken away. By gradient:
        the slope in the part's factor at 1. By Sobol: the total index.
    method : str
        Which of them.
    output : Tensor
        The number itself in the untouched model, ``[row]``.
    control : Tensor, optional
        By ablation, ``[at most 8, row]``: how much the number falls under a random change as large as the
        ablation, for the strongest parts in order. For one random part of the input there is no such thing by
        the other methods.
    floor : Tensor
        ``[row]``: by ablation, the change between two equal rows of a batch; by gradient 0; by Sobol, twice
        the largest standard error of an index.
    sobol : list of SobolIndices
        By Sobol, one a row: first-order indices and errors too.
    """

    names: list[str]
    values: torch.Tensor
    method: str
    output: torch.Tensor
    control: torch.Tensor | None
    floor: torch.Tensor
    sobol: list[SobolIndices]

    @property
    def mean(self) -> torch.Tensor:
        """Mean over rows, ``[part]``."""
        return self.values.mean(1)

    def top(self, count: int = 10) -> list[str]:
        """The parts with the largest ``|mean|``, strongest first."""
        return [self.names[i] for i in self.mean.abs().topk(min(count, len(self.names))).indices.tolist()]

    def grid(self) -> torch.Tensor:
        """Mean values as ``[block, head]``, for `steerlab.figures.block_head_grid`."""
        blocks = [name.rpartition(".heads.")[0] for name in self.names]
        rows = list(dict.fromkeys(blocks))
        if not all(blocks) or len(rows) * blocks.count(rows[0]) != len(blocks):
            raise SteerlabError("a grid needs blocks with equally many heads")
        return self.mean.reshape(len(rows), -1)

    def agreement(self, other: Importance) -> Agreement:
        """How far another method, on the same parts, says the same."""
        if self.names != other.names:
            raise SteerlabError("these measured different parts; name them: atoms=[...]")
        first, second = self.mean, other.mean
        if "sobol" in (self.method, other.method):  # an index has no sign
            first, second = first.abs(), second.abs()
        return Agreement(spearman(first, second), shared_top(first, second))

    def __str__(self) -> str:
        what = {
            "ablation": "fall of the output",
            "gradient": "slope in the factor",
            "sobol": "total Sobol index",
        }
        order = self.mean.abs().argsort(descending=True)[:10].tolist()
        rows = [[self.names[i], float(self.mean[i])] for i in order]
        lines = [
            f"{self.method} of {len(self.names)} parts on {self.values.shape[1]} inputs, "
            f"output {float(self.output.mean()):.4g}",
            table(["part", what[self.method]], rows),
        ]
        if self.control is not None:
            lines.append(
                f"random changes as large, for the {len(self.control)} strongest: "
                f"{float(self.control.mean(1).abs().mean()):.3g} on average, "
                f"{float(self.control.mean(1).abs().max()):.3g} at most"
            )
        if self.method != "gradient":
            lines.append(f"noise floor {float(self.floor.max()):.2g}")
        return "\n".join(lines)


def importance(
    model: Model,
    inputs: Any,
    dictionary: Dictionary,
    *,
    output: Output,
    atoms: Sequence[int] | None = None,
    method: str = "ablation",
    tokens: TokenChoice | None = None,
) -> Importance:
    """What each atom does for one number of the output.

    - ``"ablation"``: the fall when the atom's codes are zeroed, everything else kept.
    - ``"gradient"``: ``sum_t z_k(t) <d_k, dy/dx(t)>``, one forward and backward for all atoms; ablation to
      first order.
    - ``"sobol"``: all codes multiplied by masks in [0, 1] of a Sobol design (64 rows); first-order and total
      shares of the output's variance, interactions included. It takes ``64 (atoms + 2)`` runs.

    Parameters
    ----------
    model : Model
        What is asked.
    inputs : object
        One batch.
    dictionary : Dictionary
        At its own site; see `steerlab.atoms.at_site`.
    output : int, str, Tensor or callable
        See `steerlab.atoms.outputs.scalar_of`: a word or class, or a function of the main output.
    atoms : list of int, optional
        Which; all that are active in the inputs by default.
    method : str
        One of the three.
    tokens : optional
        Tokens at which the codes are changed. By default all; in texts all but the first, where codes are
        many times as large as elsewhere and would decide alone: ``tokens="all"`` takes it in.
    """
    return _measured(model, inputs, atoms_of(model, dictionary, inputs, atoms, tokens), output, method)


def head_importance(
    model: Model, inputs: Any, *, output: Output, at: str = "**.heads", method: str = "ablation"
) -> Importance:
    """What each attention head does for one number of the output; methods as in `importance`.

    Parameters
    ----------
    model : Model
        What is asked.
    inputs : object
        One batch.
    output : int, str, Tensor or callable
        As in `importance`.
    at : str
        Which blocks' heads.
    method : str
        ``"ablation"``, ``"gradient"`` (``sum <z_h, dy/dz_h>`` over tokens) or ``"sobol"``.
    """
    return _measured(model, inputs, heads_of(model, at), output, method)


def _measured(model: Model, inputs: Any, parts: Parts, output: Output, method: str) -> Importance:
    methods = {"ablation": _ablation, "gradient": _gradient, "sobol": _sobol}
    if method not in methods:
        raise SteerlabError(f"method={method!r}{nearest(method, methods)} (known: {listing(methods)})")
    if not isinstance(model.module, nn.Module):
        raise SteerlabError("a pipeline is not one forward; use model.sweep with a metric of pictures")
    kwargs = prepared(model, inputs)
    return methods[method](model, kwargs, parts, scalar_of(model, output))


def _gradient(model: Model, kwargs: dict[str, Any], parts: Parts, scalar: Callable) -> Importance:
    rows = repeated(kwargs, 1)[1]
    masks = torch.ones(rows, len(parts.names), requires_grad=True)
    with torch.enable_grad():
        values = _checked(scalar(run(model, kwargs, parts.masked(masks))), rows)
    if not values.requires_grad:
        raise SteerlabError("the output does not depend on these parts by any gradient")
    (slopes,) = torch.autograd.grad(values.sum(), masks)
    return Importance(
        parts.names, slopes.T.double().cpu(), "gradient", values.detach().cpu(), None, torch.zeros(rows), []
    )


def _ablation(model: Model, kwargs: dict[str, Any], parts: Parts, scalar: Callable) -> Importance:
    rows = repeated(kwargs, 1)[1]
    clean = torch.zeros(rows)

    def fall(base: torch.Tensor, edited: torch.Tensor) -> torch.Tensor:
        before = _checked(scalar(base), rows)
        clean.copy_(before)
        return before.double() - scalar(edited).double()

    def swept(arms: list) -> torch.Tensor:
        return model.sweep(kwargs, arms, metric=fall, batch=BATCH)

    # masks of 1 are the same arithmetic without a change
    idle = {at: edit.on(strength=0.0) for at, edit in parts.masked(torch.ones(1, len(parts.names))).items()}
    found = swept([idle, *(parts.ablated(i) for i in range(len(parts.names)))]).cpu()
    strongest = found[1:].mean(1).abs().topk(min(CONTROLLED, len(parts.names))).indices.tolist()
    control = swept([parts.control(i) for i in strongest]).cpu()
    return Importance(parts.names, found[1:], "ablation", clean, control, found[0].abs(), [])


def _sobol(model: Model, kwargs: dict[str, Any], parts: Parts, scalar: Callable) -> Importance:
    from tqdm.auto import tqdm

    rows, count = repeated(kwargs, 1)[1], len(parts.names)
    if count > MOST:
        raise SteerlabError(
            f"Sobol indices of {count} parts take {DESIGNS * (count + 2):,} runs; name at most {MOST}, "
            "such as the strongest by gradient: atoms=[int(i) for i in by_gradient.top(32)]"
        )
    masks = sobol_masks(count, DESIGNS)
    outputs = []
    with torch.no_grad():
        clean = _checked(scalar(run(model, kwargs, parts.masked(torch.ones(1, count)))), rows)
        for some in tqdm(masks.split(BATCH), desc="sobol", disable=None, leave=False):
            each = some.repeat_interleave(rows, 0)
            found = run(model, repeated(kwargs, len(some))[0], parts.masked(each))
            outputs += [_checked(scalar(part), rows) for part in found.split(rows)]
    every = torch.stack(outputs).double().cpu()
    indices = [sobol_indices(every[:, row], count) for row in range(rows)]
    floor = torch.stack([2 * one.total_error.max() for one in indices])
    values = torch.stack([one.total for one in indices], 1)
    return Importance(parts.names, values, "sobol", clean.cpu(), None, floor, indices)


def _checked(values: torch.Tensor, rows: int) -> torch.Tensor:
    if not isinstance(values, torch.Tensor) or values.shape != (rows,):
        shape = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise SteerlabError(f"output gives one number a row, [{rows}], not {shape}")
    return values
