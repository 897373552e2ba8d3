"""A block that is applied again and again in depth, told at each step which layer it is to produce."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from steerlab.errors import SteerlabError


@dataclass(frozen=True)
class BlockSizes:
    """How large a shared block is.

    Parameters
    ----------
    dim, heads : int
        Width of the stream, and heads of its attention.
    hidden : int
        Width inside the gated MLP; 0 for four times `dim`, as the authors have it.
    depth_hidden : int
        Width of the small network that turns the layer's number into scales.
    causal : bool
        Whether a token attends to itself and earlier ones alone, as in a language model.
    """

    dim: int
    heads: int
    hidden: int = 0
    depth_hidden: int = 16
    causal: bool = False

    def __post_init__(self) -> None:
        for name, least in (("dim", 1), ("heads", 1), ("hidden", 0), ("depth_hidden", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SteerlabError(f"BlockSizes: {name}={value!r} is not a whole number of {least} or more")
        if self.dim % self.heads:
            raise SteerlabError(f"BlockSizes: {self.dim} dimensions do not part into {self.heads} heads")

    @property
    def inner(self) -> int:
        """Width inside the gated MLP."""
        return self.hidden or 4 * self.dim


class RaptorBlock(nn.Module):
    """The shared block of arXiv 2512.19941, as its authors' code has it.

    With the number ``z`` of the layer that is produced (counted from 1, not normalised) and
    ``s_attn, s_mlp, s_out = split(W2 silu(W1 z + b1) + b2 + 1)``::

        x <- x + s_attn * gamma1 * attention(norm1(x))
        x <- x + s_mlp * gamma2 * mlp(norm2(x))
        x <- s_out * x

    with ``mlp(x) = W_down (silu(a) * b)``, ``a, b = split(W_up x)``. Attention has biases and no positions of
    its own: in a model with rotary positions the block knows order by its causal mask alone.

    Parameters
    ----------
    sizes : BlockSizes
        Widths and heads.
    layer_scale : float
        First value of ``gamma1`` and ``gamma2``; the authors take 1e-5.
    """

    def __init__(self, sizes: BlockSizes, *, layer_scale: float = 1e-5) -> None:
        super().__init__()
        dim, inner = sizes.dim, sizes.inner
        self.sizes = sizes
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 2 * inner), nn.Linear(inner, dim)
        self.gamma1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.gamma2 = nn.Parameter(torch.full((dim,), layer_scale))
        self.depth = nn.Sequential(
            nn.Linear(1, sizes.depth_hidden), nn.SiLU(), nn.Linear(sizes.depth_hidden, 3 * dim)
        )
        nn.init.xavier_uniform_(self.qkv.weight)
        for bias in (self.qkv.bias, self.proj.bias):
            nn.init.zeros_(bias)
        for parameter in self.depth[-1].parameters():
            nn.init.normal_(parameter, std=1e-4)

    def forward(self, x: torch.Tensor, layer: int | torch.Tensor) -> torch.Tensor:
        """The state ``[batch, token, dim]`` one layer on.

        Parameters
        ----------
        x : Tensor
            The state before, ``[batch, token, dim]``.
        layer : int or Tensor
            Number of the layer that is produced, from 1; or one a row, ``[batch]``.
        """
        attn, mlp, out = self.scales(layer, x).chunk(3, dim=-1)
        x = x + attn * self.gamma1 * self._attention(self.norm1(x))
        first, second = self.up(self.norm2(x)).chunk(2, dim=-1)
        x = x + mlp * self.gamma2 * self.down(F.silu(first) * second)
        return out * x

    def scales(self, layer: int | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """``s_attn, s_mlp, s_out`` side by side: ``[batch or 1, 1, 3 * dim]``."""
        number = torch.as_tensor(layer, device=like.device).to(self.gamma1.dtype).reshape(-1, 1)
        return (self.depth(number) + 1).unsqueeze(1)

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(x).unflatten(-1, (3, self.sizes.heads, -1)).movedim(-3, 0)
        q, k, v = (part.transpose(-3, -2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.sizes.causal)
        return self.proj(mixed.transpose(-3, -2).flatten(-2))
