"""ToToken: let one token carry what some coordinates say anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit, constant
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class ToToken(Edit):
    """At some coordinates the chosen token gets the entry of largest magnitude, all others `elsewhere`.

    ``x[token, c] -> scale * x[m, c]``, ``m = argmax_i |x[i, c]|``, and ``x[i, c] -> elsewhere[c]`` for every
    other ``i``: the sign is kept. At ``mlp.act``, with the neurons that make the stream of some tokens long,
    it is the test-time register of arXiv 2506.08010, there with a token appended for the purpose; an edit
    keeps the number of tokens, so here the token is one that the model has.

    Parameters
    ----------
    coordinates : sequence of int
        Which coordinates of the last axis.
    token : int
        The token that carries them.
    elsewhere : float or Tensor
        What the others hold: a number, or one a coordinate ``[coordinate]``.
    scale : float
        Factor of what the token gets.
    """

    coordinates: Sequence[int]
    token: int = 0
    elsewhere: float | torch.Tensor = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        given = self.coordinates.tolist() if isinstance(self.coordinates, torch.Tensor) else self.coordinates
        chosen = list(given) if isinstance(given, (list, tuple, range)) else []
        whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in chosen)
        if not chosen or not whole or len(set(chosen)) < len(chosen):
            raise SteerlabError(
                f"ToToken: coordinates={self.coordinates!r}; give their numbers, each once, as [3, 17]"
            )
        object.__setattr__(self, "coordinates", chosen)
        if not isinstance(self.token, int) or isinstance(self.token, bool):
            raise SteerlabError(f"ToToken: token={self.token!r} is not the number of a token")
        if isinstance(self.elsewhere, torch.Tensor):
            held = constant(self.elsewhere, "ToToken: what the others hold")
            if held.shape not in ((), (len(chosen),)):
                raise SteerlabError(
                    f"ToToken: elsewhere has shape {list(held.shape)}, it needs [{len(chosen)}]"
                )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., token, dim]``."""
        if x.ndim < 2 or max(self.coordinates) >= x.shape[-1]:
            raise SteerlabError(
                f"ToToken: coordinate {max(self.coordinates)} of an activation {list(x.shape)}"
                + (f", whose last is {x.shape[-1] - 1}" if x.ndim > 1 else "; it needs [..., token, dim]")
            )
        if not -x.shape[-2] <= self.token < x.shape[-2]:
            raise SteerlabError(f"ToToken: token {self.token} of an activation {list(x.shape)}")
        index = torch.tensor(self.coordinates, device=x.device)
        part = x.index_select(-1, index)
        largest = part.gather(-2, part.abs().argmax(-2, keepdim=True))
        held = torch.as_tensor(self.elsewhere, device=x.device).to(x.dtype).expand(part.shape)
        here = torch.zeros(x.shape[-2], 1, dtype=torch.bool, device=x.device)
        here[self.token] = True
        return x.index_copy(-1, index, torch.where(here, largest * self.scale, held))
