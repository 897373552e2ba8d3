"""Normalisations of what a transcoder reads, which its output never had and which are not undone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.norms import Norm


@dataclass(frozen=True, eq=False)
class InputRms(Norm):
    """``n = x / sqrt(mean(x^2) + eps)``: RMSNorm without its gain, of the input alone.

    Some transcoders were trained on the normalised stream before the model multiplies it by its gain, an
    activation that no module of the model puts out. So they read the stream itself, and this norm makes the
    rest; what they write is another site's activation and stays as it is. (Our own definition of how a
    published input is reached.)

    Parameters
    ----------
    eps : float
        The model's own.
    """

    eps: float = 1e-6

    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return ``[..., dim]``."""
        return x * (x.square().mean(dim=-1, keepdim=True) + self.eps).rsqrt(), None

    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Return `n`, an activation of the site that is written."""
        return n

    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Return `step`."""
        return step


INPUT_NORMS = {InputRms.__name__: InputRms}
