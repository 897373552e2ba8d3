"""Activations of a sequence as what its past foretells and what is new, and each part as coordinates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from steerlab.bases.base import Basis
from steerlab.bases.linear import finite
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.numerics.causal_codes import NAMES, Sizes, Split, split
from steerlab.numerics.copies import Copies
from steerlab.sites import Site

PARTS = ("predictable", "novel")
KEY = "steerlab.temporal"


@dataclass(frozen=True, eq=False, repr=False)
class TemporalFeaturizer:
    """A dictionary whose codes have two parts (arXiv 2511.01836): ``x = (z_p + z_n) D / scale + ...``.

    ``z_p`` comes from earlier tokens by attention over their codes, scaled to fit the own activation; ``z_n``
    is the sparse code of what is left. It needs whole sequences.

    Parameters
    ----------
    weights : dict of Tensor
        See `steerlab.numerics.causal_codes.split`.
    heads : int
        Of the attention over codes.
    k : int, optional
        Novel codes a token; None keeps all that are positive.
    gain : float
        ``lam``; 0 for the paper's ``1 / (4 dim)``.
    scale : float
        What activations are multiplied by first.
    skip : int
        Tokens at the beginning of each sequence that are left out: the first one of a language model has a
        norm of its own.
    facts : dict
        What is known of it, as plain numbers and texts: ``site``.
    """

    weights: dict[str, torch.Tensor]
    heads: int = 4
    k: int | None = None
    gain: float = 0.0
    scale: float = 1.0
    skip: int = 1
    facts: dict[str, str | float] = field(default_factory=dict)
    copies: Copies = field(init=False)

    def __post_init__(self) -> None:
        missing = [name for name in NAMES if name not in self.weights]
        if missing or len(self.weights) != len(NAMES):
            raise SteerlabError(f"TemporalFeaturizer: weights are {listing(NAMES)}; missing {missing}")
        atoms, dim = self.weights["decoder"].shape
        shapes = {"bias": (dim,), "value": (atoms, atoms), "output": (atoms, atoms), "output_bias": (atoms,)}
        for name, shape in shapes.items():
            if tuple(self.weights[name].shape) != shape:
                found = list(self.weights[name].shape)
                raise SteerlabError(f"TemporalFeaturizer: {name} is {found}, {list(shape)} is needed")
        inner = len(self.weights["query"])
        if len(self.weights["key"]) != inner or inner % self.heads or atoms % self.heads:
            raise SteerlabError(
                f"TemporalFeaturizer: {inner} query rows and {atoms} atoms do not make {self.heads} heads"
            )
        if not self.scale > 0 or self.skip < 0 or (self.k is not None and self.k < 1):
            raise SteerlabError("TemporalFeaturizer: scale is above 0, skip 0 or more, k 1 or more")
        held = [finite(self.weights[name], f"TemporalFeaturizer: {name}").detach() for name in NAMES]
        object.__setattr__(self, "gain", float(self.gain) or 1 / (4 * dim))
        object.__setattr__(self, "copies", Copies(*held))

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.weights["decoder"].shape[1]

    @property
    def atoms(self) -> torch.Tensor:
        """What one unit of each code adds to an activation, ``[atom, dim]``."""
        return self.weights["decoder"] / self.scale

    @property
    def site(self) -> Site | None:
        """Where it was trained, if that is known."""
        return Site.parse(str(self.facts["site"])) if "site" in self.facts else None

    def split(self, x: torch.Tensor, real: torch.Tensor | None = None) -> Split:
        """Both codes, the scale of the prediction and what it leaves, in scaled activations.

        Parameters
        ----------
        x : Tensor
            ``[batch, token, dim]`` or ``[token, dim]``, whole sequences.
        real : Tensor, optional
            Boolean ``[batch, token]``: what is not padding.
        """
        if x.shape[-1] != self.dim or x.ndim not in (2, 3):
            raise SteerlabError(
                f"a temporal featurizer takes sequences [batch, token, {self.dim}], not {list(x.shape)}"
            )
        if x.ndim == 2:
            one = self.split(x[None], None if real is None else real.reshape(1, -1))
            return Split(one.predicted[0], one.novel[0], one.share[0], one.rest[0])
        weights = dict(zip(NAMES, self.copies.near(x), strict=True))
        return split(x * self.scale, weights, Sizes(self.heads, self.k, self.gain), self.counted(x, real))

    def encode(self, x: torch.Tensor, real: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The predictable and the novel code, ``[..., token, atom]`` each."""
        found = self.split(x, real)
        return found.predicted, found.novel

    def decode(self, predictable: torch.Tensor, novel: torch.Tensor) -> torch.Tensor:
        """Activations ``[..., token, dim]`` of both codes: ``((z_p + z_n) D + b) / scale``."""
        decoder, bias = self.copies.near(novel)[:2]
        return ((predictable + novel) @ decoder + bias) / self.scale

    def counted(self, x: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """Which tokens count: neither padding nor among the first `skip`, ``[batch, token]``."""
        if real is None:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        elif real.shape != x.shape[:2]:
            raise SteerlabError(f"padding {list(real.shape)} does not fit activations {list(x.shape)}")
        real = real.to(x.device, torch.bool)
        return real & (real.cumsum(1) > self.skip)

    @property
    def predictable(self) -> TemporalPart:
        """The predictable code as coordinates: ``Zero(tfa.predictable)`` forgets the context."""
        return TemporalPart(self, "predictable")

    @property
    def novel(self) -> TemporalPart:
        """The novel code as coordinates: ``Zero(tfa.novel)`` ignores what the token itself brings."""
        return TemporalPart(self, "novel")

    def save(self, file: str | Path) -> Path:
        """Write one safetensors file, settings as JSON in its header."""
        path = Path(file)
        head = {"heads": self.heads, "k": self.k, "gain": self.gain, "scale": self.scale, "skip": self.skip}
        tensors = {name: self.weights[name].detach().cpu().contiguous() for name in NAMES}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        save_file(tensors, part, metadata={KEY: json.dumps(head | {"facts": dict(self.facts)})})
        part.replace(path)
        return path

    @staticmethod
    def load(file: str | Path) -> TemporalFeaturizer:
        """Read what `save` wrote; nothing in it is run."""
        try:
            with safe_open(file, framework="pt") as opened:
                head = json.loads(opened.metadata()[KEY])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            return TemporalFeaturizer(tensors, **head)
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as fault:
            raise SteerlabError(f"{file} is no temporal featurizer: {fault}") from None

    def __repr__(self) -> str:
        return f"TemporalFeaturizer({len(self.weights['decoder'])} atoms × {self.dim}, k={self.k})"


@dataclass(frozen=True, eq=False, repr=False)
class TemporalPart(Basis):
    """One part of a temporal code as coordinates ``[..., token, atom]``; the other part is kept by edits.

    An edit writes ``x + (z' - z) D / scale``. It has to see whole sequences: while a model generates, pass
    ``use_cache=False``, so that every step reads all tokens again. What is read at the site is then never
    edited, since edits there act on later blocks alone. A single token is refused.

    Parameters
    ----------
    featurizer : TemporalFeaturizer
        The whole.
    part : str
        ``"predictable"`` or ``"novel"``.
    index : Tensor, optional
        Some of the atoms, ``[m]``; all by default.
    real : Tensor, optional
        Boolean ``[batch, token]``, what is not padding, for batches of texts of different lengths.
    """

    featurizer: TemporalFeaturizer
    part: str
    index: torch.Tensor | None = None
    real: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise SteerlabError(f"part={self.part!r}{nearest(self.part, PARTS)} (known: {listing(PARTS)})")
        if self.index is not None:
            index, count = torch.as_tensor(self.index).reshape(-1), len(self.featurizer.weights["decoder"])
            if index.is_floating_point() or not bool(((index >= 0) & (index < count)).all()):
                raise SteerlabError(f"atoms {index.tolist()[:8]}: this featurizer has atoms 0 to {count - 1}")
            object.__setattr__(self, "index", index.long())

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.featurizer.dim

    @property
    def atoms(self) -> torch.Tensor:
        """What one unit of each code adds, ``[atom, dim]``."""
        every = self.featurizer.atoms
        return every if self.index is None else every[self.index.to(every.device)]

    @property
    def site(self) -> Site | None:
        """Where the featurizer was trained, if that is known."""
        return self.featurizer.site

    def only(self, atoms: int | Sequence[int]) -> TemporalPart:
        """Some atoms of this part, such as one novel code to be set."""
        chosen = torch.as_tensor([atoms] if isinstance(atoms, int) else list(atoms))
        return TemporalPart(self.featurizer, self.part, chosen, self.real)

    def padded(self, real: torch.Tensor) -> TemporalPart:
        """The same for one batch with padding; `real` is its attention mask."""
        return TemporalPart(self.featurizer, self.part, self.index, real.bool())

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., token, atom]`` of this part."""
        if x.ndim < 2 or x.shape[-2] < 2:
            raise SteerlabError(
                f"a temporal edit sees {1 if x.ndim < 2 else x.shape[-2]} token, and needs those before it: "
                "while a model generates pass use_cache=False"
            )
        codes = self.featurizer.encode(x, self.real)[PARTS.index(self.part)]
        return codes if self.index is None else codes[..., self.index.to(x.device)]

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """What codes ``[..., atom]`` of this part add to an activation, ``[..., dim]``, without the bias."""
        return z @ self.atoms.to(z)

    def __repr__(self) -> str:
        few = "" if self.index is None else f".only({self.index.tolist()[:4]})"
        return f"{self.featurizer!r}.{self.part}{few}"
