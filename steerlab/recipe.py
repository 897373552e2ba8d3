"""A recipe: a model, data and a question, written down in TOML or in Python, with one meaning."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from steerlab.analyzers import ANALYZERS, Analyzer
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.inputs import INPUTS, Inputs
from steerlab.loading import load
from steerlab.made import MADE, Later, Made, opened, waits
from steerlab.model import Model
from steerlab.report import Report
from steerlab.store import kinds as storable
from steerlab.toml_lines import line_of
from steerlab.trees import parts_of

KEYS = ("about", "model", "seed", "let", "data", "analyzer")
Table = Mapping[str, Any]


def kinds() -> dict[str, type]:
    """Every class that a table of a recipe may name with ``kind``."""
    return {**storable(), **MADE, **INPUTS, **{name: ANALYZERS[name] for name in ANALYZERS}}


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that a run needs.

    Parameters
    ----------
    model : str
        As for `steerlab.load`.
    data : Inputs
        One of `steerlab.inputs`.
    analyzer : Analyzer
        What is asked.
    about : str
        What it shows, in a sentence.
    seed : int
        Of torch's generator when the run begins.
    folder : Path
        Where its files are looked up.
    """

    model: str
    data: Inputs
    analyzer: Analyzer
    about: str = ""
    seed: int = 0
    folder: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        if not whole or not 0 <= self.seed < 2**63:
            raise SteerlabError(f"seed={self.seed!r} is not a whole number from 0 on")
        for name in ("model", "about"):
            if not isinstance(getattr(self, name), str):
                raise SteerlabError(f"{name}={getattr(self, name)!r} is not a text")
        kind = self.analyzer.kind if isinstance(self.analyzer, Later) else type(self.analyzer)
        if not issubclass(kind, Analyzer):
            known = listing(sorted(ANALYZERS), 30)
            raise SteerlabError(f"analyzer: {kind.__name__} is no analyzer (known: {known})")
        if type(self.data).__name__ not in INPUTS:
            raise SteerlabError(f"data: {type(self.data).__name__} is no input (known: {listing(INPUTS)})")

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe; every mistake is told with its file and line, and nothing is run."""
        file = Path(path)
        try:
            text = file.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise SteerlabError(f"{file}: not a recipe that can be read: {fault}") from None
        return Recipe.parse(text, folder=file.parent, name=str(file))

    @staticmethod
    def parse(text: str, *, folder: Path | None = None, name: str = "recipe") -> Recipe:
        """A recipe from TOML text."""
        try:
            plain = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as fault:
            raise SteerlabError(f"{name}: {fault}") from None
        reader = _Reader(text, name)
        for key in plain:
            if key not in KEYS:
                reader.fail([key], f"no key {key!r}{nearest(key, KEYS)} (known: {listing(KEYS)})")
        for key in ("model", "data", "analyzer"):
            if key not in plain:
                reader.fail([], f"a recipe needs {key!r}")
        reader.lets = reader.table(plain.get("let", {}), ["let"])
        values = {key: reader.value(plain[key], [key]) for key in plain if key != "let"}
        unused = set(reader.lets) - set(reader.used)
        if unused:
            reader.fail(["let", min(unused)], f"[let.{min(unused)}] is used nowhere as ${min(unused)}")
        try:
            return Recipe(**values, folder=folder or Path())
        except SteerlabError as fact:
            reader.fail([], str(fact))

    def to_toml(self) -> str:
        """The recipe as TOML text, which `parse` reads as the same recipe."""
        plain: dict[str, Any] = {"about": self.about} if self.about else {}
        plain |= {"model": self.model, "seed": self.seed}
        plain |= {"data": _plain(self.data, "data"), "analyzer": _plain(self.analyzer, "analyzer")}
        return tomli_w.dumps(plain)

    def open(self) -> Opened:
        """Load the data, open the model and whatever the analyzer needs; ask nothing yet."""
        data = self.data.load(self.folder)
        return Opened(self, load(self.model), data, opened(self.analyzer, self.folder))

    def run(self) -> Report:
        """Open everything and ask."""
        return self.open().ask()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.to_toml() == other.to_toml()

    def __hash__(self) -> int:
        return hash(self.to_toml())


@dataclass(frozen=True, eq=False)
class Opened:
    """A recipe whose names have become objects.

    Attributes
    ----------
    recipe : Recipe
        The recipe.
    model : Model
        The held model.
    data : object
        The inputs.
    analyzer : Analyzer
        The question.
    """

    recipe: Recipe
    model: Model
    data: Any
    analyzer: Analyzer

    def ask(self) -> Report:
        """Ask the model."""
        import torch

        torch.manual_seed(self.recipe.seed)
        return self.analyzer(self.model, self.data)


class _Reader:
    """Tables to values; ``"$name"`` is the value of ``[let.name]``, made once."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.kinds = kinds()
        self.lets: Table = {}
        self.used: dict[str, Any] = {}
        self._open: list[str] = []

    def fail(self, path: list[str], says: str) -> None:
        line = line_of(self.text, path)
        where = f"{self.name}, line {line}" if line else self.name
        raise SteerlabError(f"{where}: {says}") from None

    def table(self, value: Any, path: list[str]) -> Table:
        if not isinstance(value, Mapping):
            self.fail(path, f"{'.'.join(path)} is a table, not {type(value).__name__}")
        return value

    def value(self, plain: Any, path: list[str]) -> Any:
        if isinstance(plain, str) and plain.startswith("$"):
            return self._let(plain[1:], path)
        if isinstance(plain, list):
            return [self.value(item, path) for item in plain]
        if not isinstance(plain, Mapping):
            return plain
        inner = {key: self.value(item, [*path, key]) for key, item in plain.items() if key != "kind"}
        if "kind" not in plain:
            if path[-1] in ("data", "analyzer") or path[0] == "let":
                self.fail(path, f"[{'.'.join(path)}] says no kind")
            return inner
        return self._constructed(plain["kind"], inner, path)

    def _let(self, name: str, path: list[str]) -> Any:
        if name not in self.lets:
            known = listing(self.lets) if self.lets else "none"
            self.fail(path, f"no [let.{name}]{nearest(name, self.lets)} (known: {known})")
        if name in self._open:
            circle = " -> ".join(f"${n}" for n in [*self._open[self._open.index(name) :], name])
            self.fail(path, f"[let] goes in a circle: {circle}")
        if name not in self.used:
            self._open.append(name)
            self.used[name] = self.value(self.table(self.lets[name], ["let", name]), ["let", name])
            self._open.pop()
        return self.used[name]

    def _constructed(self, kind: Any, inner: dict[str, Any], path: list[str]) -> Any:
        at = [*path, "kind"]
        if not isinstance(kind, str) or kind not in self.kinds:
            known = listing(sorted(self.kinds), 80)
            self.fail(at, f"no kind {kind!r}{nearest(str(kind), self.kinds)} (known: {known})")
        cls = self.kinds[kind]
        if not dataclasses.is_dataclass(cls):
            self.fail(at, f"{kind} cannot be written in a recipe")
        known = [f.name for f in dataclasses.fields(cls) if f.init]
        for key in inner:
            if key not in known:
                allowed = listing(known, 20) if known else "none"
                self.fail([*path, key], f"{kind} has no {key!r}{nearest(key, known)} (known: {allowed})")
        if waits(inner) and not issubclass(cls, Made):
            return Later(cls, inner)
        try:
            return cls(**inner)
        except SteerlabError as fact:
            self.fail(path, str(fact))
        except Exception as fault:  # what a constructor makes of wrong values depends on the kind
            self.fail(path, f"these are not the values of {kind}: {type(fault).__name__}: {fault}")


def _plain(value: Any, path: str) -> Any:
    """A value as TOML: tables with their kind, lists, numbers and texts."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, range)):
        return [_plain(item, path) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}") for key, item in value.items()}
    parts = (value.kind.__name__, value.arguments) if isinstance(value, Later) else parts_of(value)
    if not isinstance(value, Later) and (parts is None or parts[0] not in kinds()):
        name = getattr(value, "__name__", None) or type(value).__name__
        raise SteerlabError(f"{path} holds {name}, which has no form in TOML; save it as a .steer folder")
    kind, arguments = parts
    return {"kind": kind} | {
        name: _plain(item, f"{path}.{name}") for name, item in arguments.items() if item is not None
    }
