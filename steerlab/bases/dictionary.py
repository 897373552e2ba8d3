"""A trained sparse dictionary, frozen: codes of activations, and edits in the coordinates of its atoms."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from steerlab.bases.base import Basis
from steerlab.bases.encoders import Encoder
from steerlab.bases.facts import Facts, Stats
from steerlab.bases.hearing import Heard, refused
from steerlab.bases.linear import Subspace, finite
from steerlab.bases.norms import Norm, Same
from steerlab.bases.numbers import atom_numbers
from steerlab.errors import SteerlabError
from steerlab.numerics.codes import decode_entries, decode_sparse
from steerlab.sites import Site
from steerlab.trees import mapped

if TYPE_CHECKING:
    from steerlab.bases.blocks import Block


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Dictionary(Basis):
    """``z = encoder(norm(x) - pre_bias)`` and ``x_hat = undo(z D + bias)``, with atoms as rows of ``D``.

    An edit in its coordinates writes ``x + undo((z' - z) D)``: what the dictionary does not explain is kept,
    unchanged codes change nothing, and only the rows of changed codes are read.

    Parameters
    ----------
    decoder : Tensor
        Atoms ``[atom, dim]``.
    encoder : Encoder
        How codes are found.
    bias, pre_bias : Tensor, optional
        ``[dim]``: added when decoding, subtracted before encoding.
    norm : Norm
        What is done to an activation first.
    skip : Tensor, optional
        ``[dim in, dim]``, for transcoders that pass their input on.
    facts : Facts
        Where the dictionary comes from and where it belongs.
    stats : Stats, optional
        What its codes do on reference data; see `measured`.
    keeps_error : bool
        Whether an edit keeps what the dictionary does not explain; see `dropping_error`.
    heard : Heard, optional
        What a transcoder has read in this run; see `live`.
    """

    decoder: torch.Tensor
    encoder: Encoder
    bias: torch.Tensor | None = None
    pre_bias: torch.Tensor | None = None
    norm: Norm = dataclasses.field(default_factory=Same)
    skip: torch.Tensor | None = None
    facts: Facts = Facts()
    stats: Stats | None = None
    keeps_error: bool = True
    heard: Heard | None = None
    _copies: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.decoder.ndim != 2:
            raise SteerlabError(f"a decoder is [atom, dim], not {list(self.decoder.shape)}")
        for name in ("decoder", "bias", "pre_bias", "skip"):
            value = getattr(self, name)
            if value is not None:
                finite(value, f"the dictionary's {name}")
        reads = self.encoder.inputs() or self.dim
        for name, width in (("bias", self.dim), ("pre_bias", reads)):
            vector = getattr(self, name)
            if vector is not None and vector.shape != (width,):
                raise SteerlabError(
                    f"the {name} has shape {list(vector.shape)}; this dictionary needs [{width}]"
                )
        codes = self.encoder.atoms()
        if codes is not None and codes != len(self):
            raise SteerlabError(f"the encoder gives {codes} codes, the decoder has {len(self)} atoms")

    @property
    def dim(self) -> int:
        """Width of the activations it writes."""
        return self.decoder.shape[1]

    @property
    def reads(self) -> int:
        """Width of the activations it reads; another one than `dim` only for transcoders."""
        return self.encoder.inputs() or self.dim

    @property
    def atoms(self) -> torch.Tensor:
        """Directions ``[atom, dim]``, as long as the decoder has them."""
        return self.decoder

    @property
    def site(self) -> Site | None:
        """Where it was trained, if its file says so in words that name a site; `facts.site` as written."""
        try:
            return None if self.facts.site is None else Site.parse(self.facts.site)
        except SteerlabError:
            return None

    @property
    def is_transcoder(self) -> bool:
        """Whether it reads one site and writes another."""
        return self.facts.reads is not None or self.reads != self.dim

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]`` of activations ``[..., dim]``."""
        near, flat = self.near(x), self.flattened(x)
        return near.encoder(near.inner(flat)[0], near.decoder)

    def decode(self, z: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        """Activations ``[..., dim]`` of codes; norms that measure rows need the `x` of the codes."""
        near = self.near(z)
        normal = decode_sparse(z, near.decoder)
        if near.bias is not None:
            normal = normal + near.bias
        measured = None
        if x is not None:
            measured = near.inner(self.flattened(x.to(z)))[1]
        elif near.norm.measures:
            raise SteerlabError(
                f"{type(near.norm).__name__} measures every row: give decode(z, x) the codes' activation"
            )
        out = near.norm.undo(normal, measured)
        if near.skip is not None:
            if x is None:
                raise SteerlabError("this transcoder passes its input on: give decode(z, x) its input too")
            out = out + self.flattened(x.to(z)) @ near.skip
        return out

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """``decode(encode(x))``, ``[..., dim]``."""
        return self.decode(self.encode(x), x)

    def explained(self, x: torch.Tensor) -> torch.Tensor:
        """What of an edited activation the dictionary explains, in its shape."""
        return self.reconstruct(self.source(x)).reshape(x.shape)

    def moved(
        self,
        x: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor],
        *,
        keeps_zero: bool = False,
    ) -> torch.Tensor:
        """``x`` after `change` of its codes; see `steerlab.bases.Basis.moved`."""
        near, flat = self.near(x), self.written(x)
        inner, measured = near.inner(self.source(x))
        entries = near.encoder.entries(inner, near.decoder) if keeps_zero else None
        if entries is not None:
            values, index = entries
            step = decode_entries(change(values) - values, index, near.decoder)
        else:
            codes = near.encoder(inner, near.decoder)
            after = change(codes)
            if near.encoder.on_simplex:
                after = near.encoder.settled(codes, after)
            step = decode_sparse(after - codes, near.decoder)
        step = near.norm.undo_step(step, measured)
        start = flat if self.keeps_error else self.reconstruct(self.source(x))
        return (start + step).reshape(x.shape)

    def dropping_error(self) -> Dictionary:
        """The same dictionary, whose edits write ``decode(z')`` alone: the published `replace` mode."""
        return dataclasses.replace(self, keeps_error=False)

    def inferring(self, encoder: Encoder) -> Dictionary:
        """The same atoms with another inference: ``Fista(0.1)``, ``Pursuit(32, nonnegative=True)``.

        The bias before encoding is the decoder's here, so that codes explain ``x - bias``.
        """
        pre = self.pre_bias if self.bias is None else self.bias
        return dataclasses.replace(self, encoder=encoder, pre_bias=pre)

    def only(self, atoms: int | Sequence[int] | torch.Tensor) -> Basis:
        """Some atoms as a basis of their own: ``Zero(sae.only([3, 9]))`` ablates two codes."""
        from steerlab.bases.part import Part

        return Part(self, self.numbers(atoms))

    def without(self, atoms: int | Sequence[int] | torch.Tensor) -> Basis:
        """All other atoms: ``Zero(sae.without([3, 9]))`` keeps two codes only."""
        from steerlab.bases.part import Part

        left = torch.ones(len(self), dtype=torch.bool)
        left[self.numbers(atoms)] = False
        return Part(self, left.nonzero()[:, 0])

    def block(self, number: int) -> Block:
        """One block of a block-sparse dictionary, to be read and edited; see `steerlab.Block`."""
        from steerlab.bases.blocks import Block, block_size

        size = block_size(self)
        if not 0 <= number < len(self) // size:
            raise SteerlabError(f"block {number}: this dictionary has blocks 0 to {len(self) // size - 1}")
        return Block(self, range(number * size, (number + 1) * size))

    def span(self, atoms: int | Sequence[int] | torch.Tensor) -> Subspace:
        """The subspace of some atoms: ``Remove(sae.span(...))`` removes the directions themselves."""
        return Subspace(self.decoder[self.numbers(atoms)])

    def strength(self, atom: int, amount: float, *, unit: str = "active_mean") -> float:
        """The factor of ``Add(sae[atom], factor)`` for an amount in a unit; see `Stats.factor`."""
        if self.stats is None:
            raise SteerlabError(
                f"unit={unit!r} needs reference data: make it with sae.measured(activations), "
                "or give the strength itself"
            )
        return self.stats.factor(self.decoder, int(self.numbers(atom)[0]), amount, unit)

    def measured(self, batches: torch.Tensor | Iterable[torch.Tensor]) -> Dictionary:
        """The same dictionary with `stats` from activations ``[..., dim]``: strengths get units."""
        from steerlab.bases.measuring import stats_of

        return dataclasses.replace(self, stats=stats_of(self, batches))

    def save(self, file: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write one safetensors file, which `steerlab.load_dictionary` reads."""
        from steerlab.bases.formats import own

        own.save(self, Path(file), dtype)

    def numbers(self, atoms: int | Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Atom numbers as ``[m]``, checked."""
        return atom_numbers(atoms, len(self))

    def inner(self, flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the encoder sees, and what the norm measured."""
        normal, measured = self.norm.apply(flat)
        return (normal if self.pre_bias is None else normal - self.pre_bias), measured

    def flattened(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., dim]``, also from ``[..., head, dim]`` for dictionaries of concatenated heads."""
        if x.shape[-1] != self.reads and x.ndim > 1 and x.shape[-2] * x.shape[-1] == self.reads:
            return x.flatten(-2)
        if x.shape[-1] != self.reads:
            raise SteerlabError(
                f"the dictionary reads {self.reads} dimensions, "
                f"the activation {list(x.shape)} has {x.shape[-1]}"
            )
        return x

    def of(self, index: torch.Tensor) -> Dictionary:
        """A dictionary of some atoms, for encoders that are local: codes of these are as before."""
        stats = None if self.stats is None else self.stats.of(index)
        rows, encoder = self.decoder[index], self.encoder.part(index)
        return dataclasses.replace(self, decoder=rows, encoder=encoder, stats=stats)

    def near(self, x: torch.Tensor) -> Dictionary:
        """The dictionary on the device and in the dtype of `x`; one copy of each is kept."""
        if self.decoder.device == x.device and self.decoder.dtype == x.dtype:
            return self
        key = (x.device, x.dtype)
        if key not in self._copies:
            self._copies[key] = mapped(
                self, lambda t: t.to(*key) if t.is_floating_point() else t.to(x.device)
            )
        return self._copies[key]

    def written(self, x: torch.Tensor) -> torch.Tensor:
        """What an edit adds its step to: ``[..., dim]``, also from ``[..., head, dim]``."""
        return x if self.is_transcoder else self.flattened(x)

    def source(self, x: torch.Tensor) -> torch.Tensor:
        """What codes are computed from when `x` is edited: `x` itself, or what a transcoder heard."""
        if not self.is_transcoder:
            return self.flattened(x)
        if self.heard is None:
            raise refused(self.facts)
        return self.flattened(self.heard.beside(x, self.facts))

    def live(self) -> Dictionary:
        """The same transcoder with a memory for what it reads in a run; see `steerlab.across`."""
        return dataclasses.replace(self, heard=Heard())

    def __deepcopy__(self, memo: dict) -> Dictionary:
        """Weights are shared, and what was heard is not."""
        return (
            self if self.heard is None else dataclasses.replace(self, heard=copy.deepcopy(self.heard, memo))
        )

    def __getstate__(self) -> dict:
        return vars(self) | {"_copies": {}}

    def __repr__(self) -> str:
        where = f" at {self.facts.site}" if self.facts.site else ""
        return f"Dictionary({len(self)} atoms × {self.dim}{where}, {type(self.encoder).__name__})"
