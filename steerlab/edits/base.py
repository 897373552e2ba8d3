"""What an edit is: a pure change of an activation, tensor to tensor."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from steerlab.bases.base import Basis
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.registry import Registry
from steerlab.scope import Scope

EDITS: Registry[type[Edit]] = Registry("edit", "steerlab.edits")


class Edit(ABC):
    """A pure change: ``edit(x)`` returns a new tensor of the same shape and never touches `x`.

    An edit knows nothing of models. Its fields are its parameters; where it acts is said by a site, on
    which entries by a scope (`on`).

    Attributes
    ----------
    streams : tuple of str
        The streams where the edit makes sense; empty for everywhere.
    changes_nothing : bool
        Whether the edit leaves the activation as it is, on purpose.
    """

    streams: ClassVar[tuple[str, ...]] = ()
    changes_nothing: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        EDITS.add(cls.__name__, cls, replace=True)  # a notebook cell that defines one is run twice

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the changed activation ``[..., dim]``."""

    def on(self, **choices: Any) -> Scoped:
        """Restrict the edit to some entries; see `steerlab.Scope` for the choices."""
        return Scoped(self, narrowed(Scope(), choices))

    def __repr__(self) -> str:
        fields = [f for f in dataclasses.fields(self) if f.init] if dataclasses.is_dataclass(self) else ()
        shown = (_show(getattr(self, f.name)) for f in fields if getattr(self, f.name) is not f.default)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclasses.dataclass(frozen=True, eq=False)
class Scoped:
    """An edit together with the entries it acts on."""

    edit: Edit
    scope: Scope

    def on(self, **choices: Any) -> Scoped:
        """Restrict further; a choice made twice is replaced."""
        return Scoped(self.edit, narrowed(self.scope, choices))

    def __repr__(self) -> str:
        entries = str(self.scope)
        return f"{self.edit!r}.on({entries})" if entries else repr(self.edit)


def narrowed(scope: Scope, choices: dict[str, Any]) -> Scope:
    """The scope with some fields replaced; unknown names are refused."""
    known = [f.name for f in dataclasses.fields(Scope)]
    for name in choices:
        if name not in known:
            raise SteerlabError(f"a scope has no {name!r}{nearest(name, known)} (known: {listing(known)})")
    return dataclasses.replace(scope, **choices)


def bases_of(edit: Edit) -> list[Basis]:
    """The bases in whose coordinates an edit works, those of its parts included."""
    found = []
    for field in dataclasses.fields(edit) if dataclasses.is_dataclass(edit) else ():
        value = getattr(edit, field.name)
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, Edit):
                found += bases_of(one)
            elif isinstance(one, Basis):
                found.append(one)
    return found


def wide(x: torch.Tensor) -> torch.Tensor:
    """`x` in a dtype where differences are safe: half precision becomes float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def in_coordinates(
    x: torch.Tensor,
    basis: Basis | None,
    change: Callable[[torch.Tensor], torch.Tensor],
    *,
    keeps_zero: bool = False,
) -> torch.Tensor:
    """Apply `change` to the stream, or to the coordinates of a basis.

    With a basis the result is ``x + (decode(z') - decode(z))``: what the basis does not explain is kept,
    and where ``z' = z`` the result is exactly `x`. What `keeps_zero` says: `steerlab.bases.Basis.moved`.
    """
    x_wide = wide(x)
    if basis is None:
        return change(x_wide).to(x.dtype)
    kind = x.device.type
    if torch.is_autocast_enabled(kind):  # it would take the codes in half precision
        with torch.autocast(kind, enabled=False):
            return basis.moved(x_wide, change, keeps_zero=keeps_zero).to(x.dtype)
    return basis.moved(x_wide, change, keeps_zero=keeps_zero).to(x.dtype)


def check_basis(basis: object, edit: str) -> None:
    """Refuse what is not a basis."""
    if not isinstance(basis, Basis):
        raise SteerlabError(
            f"{edit} takes a basis, not {type(basis).__name__}; for one vector write Direction(vector)"
        )


def constant(value: Any, what: str) -> torch.Tensor:
    """A floating tensor without gaps, from a tensor, a list or a number."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise SteerlabError(f"{what} is a tensor or a list of numbers, not {type(value).__name__}") from None
    if not tensor.is_floating_point():
        raise SteerlabError(f"{what} holds {tensor.dtype} numbers; it needs floating ones: .float()")
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise SteerlabError(f"{what}: {bad} of {tensor.numel()} entries are NaN or infinite")
    return tensor


def fitted(value: torch.Tensor, x: torch.Tensor, what: str) -> torch.Tensor:
    """`value` on the device and in the dtype of `x`, refused unless it broadcasts to it."""
    trailing = x.shape[x.ndim - value.ndim :] if value.ndim <= x.ndim else None
    if trailing is None or any(
        have not in (1, need) for have, need in zip(value.shape, trailing, strict=True)
    ):
        raise SteerlabError(
            f"{what} of shape {list(value.shape)} does not fit the activation {list(x.shape)}; "
            f"give [{x.shape[-1]}], or a shape that broadcasts to the activation's"
        )
    return value.to(device=x.device, dtype=x.dtype)


def _show(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.item():g}" if value.ndim == 0 else f"tensor{list(value.shape)}"
    if callable(value) and not isinstance(value, Edit):
        return getattr(value, "__name__", repr(value))
    return f"{value:g}" if isinstance(value, float) else repr(value)
