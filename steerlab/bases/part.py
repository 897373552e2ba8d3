"""Some atoms of a dictionary as a basis of their own, at their own cost where that is possible."""

from __future__ import annotations

from collections.abc import Callable

import torch

from steerlab.bases.base import Basis
from steerlab.bases.dictionary import Dictionary
from steerlab.numerics.codes import decode_entries, decode_sparse
from steerlab.sites import Site

FEW = 512  # up to so many atoms are picked one by one; beyond, all codes are computed and masked


class Part(Basis):
    """Coordinates are the codes of the chosen atoms ``[..., m]``; all other codes stay as they are.

    Where codes are local (ReLU, JumpReLU, gated) only the chosen columns are multiplied. A top-k dictionary
    runs its whole encoder, at the rows where one of the chosen atoms is positive at all.

    Parameters
    ----------
    dictionary : Dictionary
        The whole.
    index : Tensor
        Atom numbers ``[m]``, in the order of the coordinates.
    """

    def __init__(self, dictionary: Dictionary, index: torch.Tensor) -> None:
        self.dictionary = dictionary
        self.index = dictionary.numbers(index)
        self._small: dict[tuple, tuple] = {}

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.dictionary.dim

    @property
    def site(self) -> Site | None:
        """Where the dictionary was trained, if known."""
        return self.dictionary.site

    @property
    def atoms(self) -> torch.Tensor:
        """Directions ``[m, dim]``."""
        return self.dictionary.decoder[self.index]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., m]`` of the chosen atoms."""
        near = self.dictionary.near(x)
        return self._codes(near, near.inner(near.flattened(x))[0])

    def decode(self, z: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        """Activations ``[..., dim]`` with these codes and no others."""
        codes = z.new_zeros(*z.shape[:-1], len(self.dictionary))
        codes[..., self.index.to(z.device)] = z
        return self.dictionary.decode(codes, x)

    def explained(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction of `x` with these codes and no others, in its shape."""
        source = self.dictionary.source(x)
        return self.decode(self.encode(source), source).reshape(x.shape)

    def part(self, x: torch.Tensor) -> torch.Tensor:
        """What these atoms contribute to `x`, ``sum_k z_k d_k``, ``[..., dim]``: no bias, no error."""
        near = self.dictionary.near(x)
        inner, measured = near.inner(near.flattened(x))
        step = decode_sparse(self._codes(near, inner), self._parts(near)[1])
        return near.norm.undo_step(step, measured).reshape(x.shape)

    def moved(
        self,
        x: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor],
        *,
        keeps_zero: bool = False,
    ) -> torch.Tensor:
        """``x`` after `change` of these codes; see `steerlab.bases.Basis.moved`."""
        whole = self.dictionary
        near, flat = whole.near(x), whole.written(x)
        inner, measured = near.inner(whole.source(x))
        entries = None
        if keeps_zero and len(self.index) > FEW:
            entries = near.encoder.entries(inner, near.decoder)
        if entries is not None:
            values, index = entries
            chosen = torch.zeros(len(whole), dtype=torch.bool, device=x.device)
            chosen[self.index.to(x.device)] = True
            difference = torch.where(chosen[index], change(values) - values, 0)
            step = decode_entries(difference, index, near.decoder)
        elif near.encoder.on_simplex:
            codes = near.encoder(inner, near.decoder)
            index = self.index.to(x.device)
            after = near.encoder.settled(codes, change(codes[..., index]), index)
            step = decode_sparse(after - codes, near.decoder)
        else:
            codes = self._codes(near, inner)
            step = decode_sparse(change(codes) - codes, self._parts(near)[1])
        step = near.norm.undo_step(step, measured)
        start = flat if whole.keeps_error else whole.reconstruct(whole.source(x))
        return (start + step).reshape(x.shape)

    def stored(self) -> tuple[str, dict]:
        """What makes this part again: of a local dictionary its own columns and rows only."""
        whole = self.dictionary
        if not whole.encoder.is_local or not whole.keeps_error:
            return "Part", {"dictionary": whole, "index": self.index}
        return "Part", {"dictionary": whole.of(self.index), "index": torch.arange(len(self.index))}

    def _codes(self, near: Dictionary, inner: torch.Tensor) -> torch.Tensor:
        encoder, _ = self._parts(near)
        if encoder is not None:
            return encoder(inner, near.decoder)
        index = self.index.to(inner.device)
        if len(index) > FEW:
            return near.encoder(inner, near.decoder)[..., index]
        return near.encoder.at(inner, near.decoder, index)

    def _parts(self, near: Dictionary) -> tuple:
        """The encoder (of local ones) and the rows of the chosen atoms, on the device of `near`; kept."""
        key = (near.decoder.device, near.decoder.dtype)
        if key not in self._small:
            index = self.index.to(near.decoder.device)
            encoder = near.encoder.part(index) if near.encoder.is_local else None
            self._small[key] = encoder, near.decoder[index]
        return self._small[key]

    def __repr__(self) -> str:
        few = ", ".join(str(int(i)) for i in self.index[:4])
        return f"{self.dictionary!r}.only([{few}{', …' if len(self.index) > 4 else ''}])"
