"""Matching pursuit as trained pursuit dictionaries run it: steps as they are, and when a row stops."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.encoders import Encoder


@dataclass(frozen=True, eq=False)
class Greedy(Encoder):
    """``j = argmax <d_k, r>``, ``v = <d_j, r>``, ``z_j += v``, ``r -= v d_j`` (arXiv 2506.03093).

    The steps are not divided by the atoms' squared lengths, as in the code that trains such dictionaries:
    with atoms of length 1 this is `steerlab.bases.Pursuit`, with longer ones the residual may grow.

    Parameters
    ----------
    steps : int
        At most so many additions a row.
    nonnegative : bool
        Whether a step that would subtract adds nothing.
    tolerance : float
        A row is done after the step that leaves a residual shorter than this.
    until_repeat : bool
        Whether a row is done after a step that brings no new atom.
    """

    steps: int
    nonnegative: bool = False
    tolerance: float = 0.0
    until_repeat: bool = False

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        residual = x.reshape(-1, x.shape[-1])
        codes = residual.new_zeros(len(residual), len(decoder))
        going = torch.ones(len(residual), 1, dtype=torch.bool, device=x.device)
        for _ in range(self.steps):
            value, index = (residual @ decoder.T).max(dim=-1, keepdim=True)
            if self.nonnegative:
                value = value.relu()
            value = torch.where(going, value, 0)
            before = codes
            codes = codes.scatter_add(1, index, value)
            residual = residual - value * decoder[index[:, 0]]
            if self.until_repeat:
                going = going & ((codes != 0) != (before != 0)).any(dim=-1, keepdim=True)
            if self.tolerance:
                going = going & (residual.norm(dim=-1, keepdim=True) >= self.tolerance)
            if not bool(going.any()):
                break
        return codes.reshape(*x.shape[:-1], len(decoder))
