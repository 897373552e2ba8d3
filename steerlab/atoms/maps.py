"""Where in an input an atom fires: its codes along the tokens, on the grid of patches, or frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.atoms.stream import Heard, listened, site_of
from steerlab.bases import Dictionary, Part
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenChoice


@dataclass(frozen=True, eq=False)
class CodeMap:
    """One atom on one input.

    Attributes
    ----------
    atom : int
        Which.
    index : int
        Number of the input, counted over all batches.
    input : object
        The input itself: a text, a picture, a tensor; None where the model was given something else.
    codes : Tensor
        ``[token]`` for texts, without padding; ``[row, column]`` or ``[frame, row, column]`` on a grid of
        patches; ``[]`` where the site has no tokens. Tokens that were not asked for have 0.
    pieces : list of str, optional
        The tokens of a text.
    """

    atom: int
    index: int
    input: Any
    codes: torch.Tensor
    pieces: list[str] | None

    @property
    def peak(self) -> float:
        """The largest code."""
        return float(self.codes.max())

    @property
    def place(self) -> tuple[int, ...]:
        """Where the largest code is: ``(token,)``, ``(row, column)`` or ``(frame, row, column)``."""
        return tuple(int(i) for i in torch.unravel_index(self.codes.argmax(), self.codes.shape))

    def __str__(self) -> str:
        where = ", ".join(map(str, self.place))
        if self.pieces is None:
            return f"atom {self.atom}: {self.peak:.3g} at ({where}) of input {self.index}"
        return f"atom {self.atom}: {self.peak:.3g} at {marked(self.pieces, self.place[0])}"


def marked(pieces: list[str], place: int, around: int = 8) -> str:
    """The text about a token, which stands in guillemets."""
    start, stop = max(0, place - around), place + around + 1
    before, after = "".join(pieces[start:place]), "".join(pieces[place + 1 : stop])
    dots = "…" * (start > 0), "…" * (stop < len(pieces))
    gap = " " * pieces[place].startswith(" ")
    text = f"{dots[0]}{before}{gap}«{pieces[place].strip()}»{after}{dots[1]}"
    return text.replace("\n", "\\n")


@dataclass(frozen=True, eq=False)
class Coded:
    """Codes of some atoms on one batch, ready to be cut into maps.

    Parameters
    ----------
    codes : Tensor
        ``[row, *shape, atom]``, with `shape` that of `CodeMap.codes`, padding included; 0 where they were
        not asked for.
    heard : Heard
        The batch.
    on_grid : bool
        Whether the codes lie on the grid of patches.
    """

    codes: torch.Tensor
    heard: Heard
    on_grid: bool

    def peaks(self) -> torch.Tensor:
        """Largest code of each row ``[row, atom]``."""
        return self.codes.flatten(1, -2).amax(1) if self.codes.ndim > 2 else self.codes

    def cut(self, row: int, column: int, atom: int, index: int) -> CodeMap:
        """The map of one row; `column` is the atom's place among the codes."""
        codes, tokens = self.codes[row, ..., column], self.heard.tokens
        pieces = None
        if not self.on_grid and tokens is not None and tokens.ids is not None and codes.ndim == 1:
            ids = tokens.ids[row]
            real = torch.ones_like(ids, dtype=torch.bool) if tokens.real is None else tokens.real[row]
            codes = codes[real.to(codes.device)]
            pieces = (
                [f" {i}" for i in ids[real].tolist()]
                if tokens.pieces is None
                else tokens.pieces(ids[real].tolist())
            )
        given = one_of(self.heard.batch, row, len(self.codes))
        return CodeMap(atom, index, given, codes.detach().cpu().clone(), pieces)


def coded(heard: Heard, part: Part, tokens: TokenChoice | None) -> Coded:
    """Codes of a part's atoms on a batch; by default at patches, or at tokens that are not special."""
    if heard.axes[0] == "batch * fold":
        raise SteerlabError("this site folds frames or places into its batch, so its rows are no inputs")
    kept = heard.kept if tokens is not None else heard.kept & _usual(heard)
    codes = heard.source.new_zeros(*kept.shape, len(part))
    if bool(kept.any()):
        codes[kept] = part.encode(heard.source[kept])
    if heard.axes[0] in ("step", "call"):
        codes, kept = codes.amax(0), kept.any(0)  # a denoiser fires at every step: the strongest counts
    if codes.ndim < 3 or heard.tokens is None or heard.tokens.grid is None:
        return Coded(codes, heard, on_grid=False)
    span = slice(*heard.tokens.groups.get("patches", (0, heard.tokens.count)))
    beside = kept.clone()
    beside[:, span] = False
    if bool(beside.any()):
        return Coded(codes, heard, on_grid=False)
    site = Site("", "resid")
    laid = Activations({site: codes}, {site: ("batch", "token", "dim")}, {site: heard.tokens}).grid(site)
    return Coded(laid, heard, on_grid=True)


def atom_map(
    model: Model,
    dictionary: Dictionary,
    atom: int,
    inputs: Any,
    *,
    tokens: TokenChoice | None = None,
) -> list[CodeMap]:
    """Where an atom fires in some inputs.

    Parameters
    ----------
    model : Model
        Whose activations.
    dictionary : Dictionary
        At its own site; see `steerlab.atoms.at_site`.
    atom : int
        Which.
    inputs : object
        One batch, as for `Model.capture`.
    tokens : optional
        Tokens to look at; by default the patches of pictures, and in texts all but the first
        and the special ones.

    Returns
    -------
    list of CodeMap
        One an input; figures: `steerlab.figures.atom_texts`, `atom_pictures`, `atom_frames`.
    """
    part = Part(dictionary, dictionary.numbers(atom))
    site = site_of(model, dictionary)
    heard = next(iter(listened(model, dictionary, [inputs], site=site, tokens=tokens)))
    found = coded(heard, part, tokens)
    return [found.cut(row, 0, int(part.index[0]), row) for row in range(len(found.codes))]


def one_of(batch: Any, row: int, rows: int) -> Any:
    """One input of a batch of `rows`; None where it cannot be told apart."""
    if isinstance(batch, torch.Tensor):
        return batch[row].detach().cpu().clone() if len(batch) == rows else None
    if isinstance(batch, Mapping):
        cut = {name: one_of(value, row, rows) for name, value in batch.items()}
        return {name: value for name, value in cut.items() if value is not None} or None
    if isinstance(batch, (list, tuple)) and len(batch) == rows:
        return batch[row]
    if isinstance(batch, tuple):  # texts and pictures side by side
        return tuple(one_of(part, row, rows) for part in batch)
    return batch if rows == 1 else None


def _usual(heard: Heard) -> torch.Tensor:
    """Patches of a grid; in texts whatever is not special: there the stream is unlike everywhere else."""
    tokens = heard.tokens
    if tokens is None or "token" not in heard.axes:
        return torch.ones_like(heard.kept)
    if tokens.grid is not None:
        return _fitting(tokens.select("patches" if "patches" in tokens.groups else "all"), heard)
    if tokens.ids is not None:
        plain = _fitting(~tokens.select("special"), heard)
        return plain if bool((plain & heard.kept).any()) else torch.ones_like(heard.kept)
    return torch.ones_like(heard.kept)


def _fitting(mask: torch.Tensor, heard: Heard) -> torch.Tensor:
    return mask.to(heard.kept.device).expand(heard.kept.shape)
