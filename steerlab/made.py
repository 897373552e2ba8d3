"""What a recipe opens before it can be used: dictionaries, their atoms and parts, saved interventions."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steerlab.bases import Basis, Dictionary
from steerlab.errors import SteerlabError
from steerlab.inputs import inside
from steerlab.intervention import Intervention
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


MADE: dict[str, type[Made]] = {kind.__name__: kind for kind in (LoadDictionary, Atom, Only, LoadIntervention)}
