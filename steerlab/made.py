"""What a recipe opens before it can be used: dictionaries, their atoms and parts, saved interventions."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steerlab.bases import Basis, Dictionary, Manifold
from steerlab.edits.base import Scoped, bases_of
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.inputs import inside
from steerlab.intervention import Intervention, listed
from steerlab.opening import load_dictionary
from steerlab.store import load_intervention


class Made(ABC):
    """A frozen dataclass that stands in a recipe for something that is opened when the recipe runs."""

    @abstractmethod
    def make(self, folder: Path) -> Any:
        """Open it; files are looked up in `folder`."""


@dataclass(frozen=True)
class Later(Made):
    """An object whose parameters hold something that has to be opened first; made when the recipe runs.

    Parameters
    ----------
    kind : type
        What is constructed.
    arguments : mapping
        Its parameters.
    """

    kind: type
    arguments: Mapping[str, Any]

    def make(self, folder: Path) -> Any:
        """The object."""
        return self.kind(**{name: opened(value, folder) for name, value in self.arguments.items()})


def opened(value: Any, folder: Path) -> Any:
    """The value with everything in it that has to be opened first opened; one thing is opened once a tree."""
    if isinstance(value, Later):
        return value.make(folder)
    if isinstance(value, Made):
        fields = {f.name: opened(getattr(value, f.name), folder) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields).make(folder)
    if isinstance(value, list):
        return [opened(one, folder) for one in value]
    return {key: opened(one, folder) for key, one in value.items()} if isinstance(value, dict) else value


def waits(value: Any) -> bool:
    """Whether something in the value has to be opened first."""
    if isinstance(value, dict):
        return any(waits(one) for one in value.values())
    return any(waits(one) for one in value) if isinstance(value, list) else isinstance(value, Made)


@dataclass(frozen=True)
class LoadDictionary(Made):
    """`steerlab.load_dictionary`.

    Parameters
    ----------
    name : str
        ``"zoo:<name>"``, a hub id, or a path inside the recipe's folder.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SteerlabError(f"LoadDictionary: name={self.name!r} is not a text")

    def make(self, folder: Path) -> Dictionary:
        """The dictionary."""
        is_file = not self.name.startswith("zoo:") and (folder / self.name).exists()
        return load_dictionary(inside(folder, self.name) if is_file else self.name)


@dataclass(frozen=True)
class Atom(Made):
    """One atom's direction, ``dictionary[number]``.

    Parameters
    ----------
    dictionary : Dictionary
        Usually ``"$name"`` of a `LoadDictionary`.
    number : int
        Which atom.
    """

    dictionary: Any
    number: int

    def make(self, folder: Path) -> torch.Tensor:
        """``[dim]``."""
        return self.dictionary[self.number]


@dataclass(frozen=True)
class Only(Made):
    """Some atoms as a basis, ``dictionary.only(atoms)``.

    Parameters
    ----------
    dictionary : Dictionary
        Usually ``"$name"`` of a `LoadDictionary`.
    atoms : list of int
        Which atoms.
    """

    dictionary: Any
    atoms: Sequence[int]

    def make(self, folder: Path) -> Basis:
        """The basis."""
        return self.dictionary.only(list(self.atoms))


@dataclass(frozen=True)
class LoadIntervention(Made):
    """A ``.steer`` folder beside the recipe.

    Parameters
    ----------
    path : str
        Where it is.
    """

    path: str

    def make(self, folder: Path) -> Intervention:
        """The intervention."""
        return load_intervention(inside(folder, self.path))


@dataclass(frozen=True)
class LoadManifold(Made):
    """The fitted manifold that the edits of a ``.steer`` folder beside the recipe work on.

    Parameters
    ----------
    path : str
        Where it is.
    at : str, optional
        The site of its edit, where the folder holds a manifold a site.
    """

    path: str
    at: str | None = None

    def make(self, folder: Path) -> Manifold:
        """The manifold."""
        edits = listed(load_intervention(inside(folder, self.path)))
        found = {}
        for site, several in edits.items():
            for one in several:
                bases = bases_of(one.edit if isinstance(one, Scoped) else one)
                found |= {str(site): basis for basis in bases if isinstance(basis, Manifold)}
        if not found:
            raise SteerlabError(
                f"{self.path} holds no manifold: save an edit on one, such as Move(manifold, 0.0)"
            )
        if self.at is None and len(found) > 1:
            raise SteerlabError(f"{self.path} holds a manifold at {listing(found)}: say which by at=")
        if self.at is not None and self.at not in found:
            raise SteerlabError(f"{self.path} has no manifold at {self.at!r} (known: {listing(found)})")
        return found[self.at] if self.at is not None else next(iter(found.values()))


@dataclass(frozen=True)
class OnManifold(Made):
    """Something of a manifold that an edit takes, by the names of values.

    Parameters
    ----------
    manifold : Manifold
        Usually ``"$name"`` of a `LoadManifold`.
    what : str
        ``"point"`` of a value, which `Replace` writes; ``"place"`` of a value, for `Toward`; ``"shift"`` from
        one value to another, for `Move`; ``"subspace"``, the components, as the basis of `Replace`.
    value : str or int, optional
        The value, and the end of a shift.
    start : str or int, optional
        Where a shift begins.
    """

    manifold: Any
    what: str
    value: str | int | None = None
    start: str | int | None = None

    def __post_init__(self) -> None:
        if self.what not in _OF_MANIFOLDS:
            near = nearest(str(self.what), _OF_MANIFOLDS)
            raise SteerlabError(f"OnManifold: what={self.what!r}{near} (known: {listing(_OF_MANIFOLDS)})")
        for name in ("value", "start"):
            needed = name in _OF_MANIFOLDS[self.what]
            if (getattr(self, name) is not None) != needed:
                says = f"needs a {name}" if needed else f"takes no {name}"
                raise SteerlabError(f"OnManifold: a {self.what} {says}")

    def make(self, folder: Path) -> torch.Tensor | Basis:
        """The tensor, or the basis."""
        if self.what == "subspace":
            return self.manifold.subspace
        if self.what == "shift":
            return self.manifold.shift(self.start, self.value)
        return self.manifold.point(self.value) if self.what == "point" else self.manifold.place(self.value)


# what: the parameters that say which
_OF_MANIFOLDS = {"point": ("value",), "place": ("value",), "shift": ("value", "start"), "subspace": ()}
_KINDS = (LoadDictionary, Atom, Only, LoadIntervention, LoadManifold, OnManifold)
MADE: dict[str, type[Made]] = {kind.__name__: kind for kind in _KINDS}
