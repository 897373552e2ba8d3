"""Codes refitted on their own support, so that what shrinkage took is given back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.encoders import Encoder
from steerlab.numerics.blocks import refitted


@dataclass(frozen=True, eq=False)
class Debiased(Encoder):
    """The support of another encoder, with the codes of least squares on it.

    A group lasso's codes are too short by its thresholds; they are to be refitted before they are steered by.
    ``dictionary.inferring(Debiased(dictionary.encoder))`` does it (Fel, Kowal et al., Structuring Sparsity,
    names the bias; that it is removed so is our own definition).

    Parameters
    ----------
    encoder : Encoder
        What finds the support.
    """

    encoder: Encoder

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        return refitted(self.encoder(x, decoder), x, decoder)

    def inputs(self) -> int | None:
        """Width of the activations."""
        return self.encoder.inputs()

    def atoms(self) -> int | None:
        """How many codes."""
        return self.encoder.atoms()
