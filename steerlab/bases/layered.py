"""Encoders that are small networks: hidden layers, perhaps layer norms, then pre-activations and a rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.encoders import Encoder
from steerlab.bases.rules import Rule, TopK


@dataclass(frozen=True, eq=False)
class Layer:
    """``y = x W + b``, layer-normalised over its entries where gains are given.

    Parameters
    ----------
    weight : Tensor
        ``[dim, out]``.
    bias : Tensor
        ``[out]``.
    gain, shift : Tensor, optional
        Of the layer norm, ``[out]``; both or neither.
    eps : float
        Added to the variance.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    gain: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    eps: float = 1e-5

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs ``[..., out]``."""
        y = x @ self.weight + self.bias
        if self.gain is None:
            return y
        return torch.nn.functional.layer_norm(y, y.shape[-1:], self.gain, self.shift, self.eps)


@dataclass(frozen=True, eq=False)
class Hidden:
    """``relu(layer(x))`` after the hidden layers `before` it.

    Parameters
    ----------
    layer : Layer
        This layer.
    before : Hidden, optional
        What comes first.
    """

    layer: Layer
    before: Hidden | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden activations ``[..., out]``."""
        return self.layer(x if self.before is None else self.before(x)).relu()

    def inputs(self) -> int:
        """Width of the activations."""
        return self.layer.weight.shape[0] if self.before is None else self.before.inputs()


@dataclass(frozen=True, eq=False)
class Layered(Encoder):
    """``z = rule(last(hidden(x)))``: all atoms share the hidden layers, so no code can be had alone.

    Parameters
    ----------
    last : Layer
        Gives the pre-activations.
    rule : Rule
        What makes them sparse.
    hidden : Hidden, optional
        The layers before.
    """

    last: Layer
    rule: Rule
    hidden: Hidden | None = None

    def inputs(self) -> int:
        """Width of the activations."""
        return self.last.weight.shape[0] if self.hidden is None else self.hidden.inputs()

    def atoms(self) -> int:
        """How many codes."""
        return self.last.weight.shape[1]

    def pre(self, x: torch.Tensor) -> torch.Tensor:
        """Pre-activations ``[..., atom]``."""
        return self.last(x if self.hidden is None else self.hidden(x))

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        return self.rule(self.pre(x))

    def entries(self, x: torch.Tensor, decoder: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Values and indices of the codes, for rules that count them."""
        return self.rule.entries(self.pre(x)) if isinstance(self.rule, TopK) else None
