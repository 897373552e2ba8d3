"""How a tensor that a module passes on becomes the activation of a site, and back."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.errors import SteerlabError

AXES = {
    "heads": ("batch", "token", "head", "dim"),
    "q": ("batch", "token", "head", "dim"),
    "k": ("batch", "token", "head", "dim"),
    "v": ("batch", "token", "head", "dim"),
    "scores": ("batch", "head", "query", "key"),
    "pattern": ("batch", "head", "query", "key"),
    "pooled": ("batch", "dim"),
}
PLAIN_AXES = ("batch", "token", "dim")


@dataclass(frozen=True)
class Layout:
    """The steps from a module's raw tensor to an activation with named axes.

    Parameters
    ----------
    relative : str
        ``"sum"``: the activation is anchor + raw; ``"difference"``: raw - anchor; empty: raw itself.
    grid : bool
        Raw is a map ``[batch, channel, height, width]``, the activation ``[batch, token, channel]``.
    flat : bool
        Raw is ``[batch * token, dim]``; the anchor knows the batch.
    part : tuple of int, optional
        ``(i, n)``: raw holds n parts side by side along its last axis, this is part i.
    heads : int
        Number of heads that share the last axis; 0 where it is not split.
    swapped : bool
        Raw is ``[batch, head, token, dim]``, the activation ``[batch, token, head, dim]``.
    """

    relative: str = ""
    grid: bool = False
    flat: bool = False
    part: tuple[int, int] | None = None
    heads: int = 0
    swapped: bool = False

    @property
    def plain(self) -> bool:
        """Whether the raw tensor is the activation."""
        return self == Layout()

    def unpack(self, raw: torch.Tensor, anchor: torch.Tensor | None) -> torch.Tensor:
        """The activation in a raw tensor; a view where it can be one."""
        if self.relative == "sum":
            raw = anchor + raw
        elif self.relative == "difference":
            raw = raw - anchor
        return self._view(raw, anchor)

    def pack(
        self, raw: torch.Tensor, anchor: torch.Tensor | None, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        """The raw tensor whose activation is `y` where it was `x`; never written in place."""
        if self.relative:  # write back the difference, so that unchanged entries keep their bits
            own = self._view(raw, anchor)
            wide = torch.promote_types(own.dtype, torch.float32)
            y = (own.to(wide) + (y.to(wide) - x.to(wide))).to(own.dtype)
        if self.swapped:
            return y.transpose(1, 2)
        if self.heads:
            y = y.flatten(-2)
        if self.part:
            index, count = self.part
            parts = list(raw.chunk(count, dim=-1))
            parts[index] = y
            return torch.cat(parts, dim=-1)
        if self.grid:
            return y.transpose(1, 2).reshape(raw.shape)
        return y.reshape(raw.shape)

    def _view(self, raw: torch.Tensor, anchor: torch.Tensor | None) -> torch.Tensor:
        if self.swapped:
            return raw.transpose(1, 2)
        if self.grid:
            return raw.flatten(2).transpose(1, 2)
        if self.flat:
            raw = raw.view(*anchor.shape[:2], raw.shape[-1])
        if self.part:
            raw = raw.chunk(self.part[1], dim=-1)[self.part[0]]
        if self.heads:
            raw = raw.reshape(*raw.shape[:-1], self.heads, -1)
        return raw


def first_tensor(container: Any) -> torch.Tensor:
    """The tensor that a module passes on: itself, or the first entry of a tuple, output or dataclass."""
    if isinstance(container, torch.Tensor):
        return container
    if isinstance(container, (tuple, list)) and container:
        return first_tensor(container[0])
    if isinstance(container, dict) and container:
        return first_tensor(next(iter(container.values())))
    if dataclasses.is_dataclass(container):
        return first_tensor(getattr(container, dataclasses.fields(container)[0].name))
    raise SteerlabError(f"a module passes on {type(container).__name__}, which holds no tensor to read")


def with_first(container: Any, tensor: torch.Tensor) -> Any:
    """The same container with its first tensor replaced; the container itself is left as it is."""
    if isinstance(container, torch.Tensor):
        return tensor
    if isinstance(container, tuple):
        rest = (with_first(container[0], tensor), *container[1:])
        return type(container)(*rest) if hasattr(container, "_fields") else rest
    if isinstance(container, list):
        return [with_first(container[0], tensor), *container[1:]]
    if isinstance(container, dict):
        name = next(iter(container))
        first = with_first(container[name], tensor)
        if dataclasses.is_dataclass(container):
            return type(container)(**{**container, name: first})
        changed = copy.copy(container)
        changed[name] = first
        return changed
    name = dataclasses.fields(container)[0].name
    return dataclasses.replace(container, **{name: with_first(getattr(container, name), tensor)})
