"""What `steerlab run` does: a recipe read, changed, and run into a record."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from steerlab.errors import SteerlabError
from steerlab.keeping import keeping
from steerlab.locking import Lock, lock_of, read_lock, refuse_others
from steerlab.recipe import Recipe
from steerlab.records import LOCK, Record

PROGRESS = "progress"


def read(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe with some of its values replaced.

    Parameters
    ----------
    path : str or Path
        The file.
    changes : sequence of str
        ``"analyzer.at=blocks.3.heads"``: a dotted key and its new value, in TOML; what is no TOML is a text.
    """
    recipe = Recipe.load(path)
    if not changes:
        return recipe
    plain = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not all(key.split(".")):
            raise SteerlabError(f"--set {change!r}: write key=value, such as analyzer.batch=8")
        _put(plain, key.split("."), _value(value), change)
    return Recipe.parse(tomli_w.dumps(plain), folder=recipe.folder, name=f"{path} with --set")


def run(
    path: str | Path,
    out: str | Path | None,
    changes: Sequence[str] = (),
    *,
    again: bool = False,
    resume: bool = False,
    lock: str | Path | None = None,
) -> Record:
    """Run a recipe and leave a record.

    Parameters
    ----------
    path : str or Path
        The recipe.
    out : str or Path, optional
        The record's folder; ``runs/<name of the recipe>`` by default, with a number where that is taken.
    changes : sequence of str
        As for `read`.
    again : bool
        Whether a finished record may be replaced.
    resume : bool
        Go on where a run of the same recipe was cut off: what it had finished is not done again.
    lock : str or Path, optional
        The ``lock.json`` of a record: a model, data, sites or dictionaries other than its own are refused.
    """
    recipe = read(path, changes)
    locked = {} if lock is None else {lock: read_lock(lock)}
    folder = Path(out) if out is not None else _free(Path("runs") / Path(path).stem, again)
    given = "".join(f" --set {shlex.quote(change)}" for change in changes)
    file = Path(path)
    # as it was typed, unless that tells of this machine
    shown = file.name if file.is_absolute() or ".." in file.parts else file.as_posix()
    command = f"steerlab run {shlex.quote(shown)}{given}"
    progress = folder / PROGRESS
    if resume:
        locked |= _unfinished(folder, recipe)
    elif progress.is_dir() and not _is_finished(folder):
        shutil.rmtree(progress)
    text = recipe.to_toml()
    with Record.begin(folder, text, seed=recipe.seed, command=command, overwrite=again) as record:
        _say(f"opening {recipe.model}")
        opened = recipe.open()
        found = lock_of(opened)
        for file, wanted in locked.items():
            refuse_others(wanted, found, file)
        record.resolved(found)
        _say(f"asking {type(opened.analyzer).__name__}")
        with keeping(progress):
            report = opened.ask()
        record.finish(report)
    shutil.rmtree(progress, ignore_errors=True)
    return record


def _free(folder: Path, again: bool) -> Path:
    """The folder, or the first of ``<folder>-2``, ``<folder>-3`` … that holds no finished record."""
    taken, number = folder, 1
    while not again and _is_finished(taken):
        number += 1
        taken = folder.with_name(f"{folder.name}-{number}")
    return taken


def _is_finished(folder: Path) -> bool:
    return (folder / "record.json").is_file() and Record.load(folder).stamp.status == "finished"


def _unfinished(folder: Path, recipe: Recipe) -> dict[Path, Lock]:
    """The lock of an unfinished run of this recipe, by its file; whatever else is there is refused."""
    if not (folder / "record.json").is_file():
        raise SteerlabError(f"{folder} holds no run to go on with; leave out --resume")
    record = Record.load(folder)
    if record.stamp.status == "finished":
        raise SteerlabError(f"{folder} holds a finished record; there is nothing to go on with")
    if record.recipe != recipe.to_toml():
        raise SteerlabError(f"{folder} holds a run of another recipe; give its own, or another folder")
    file = folder / LOCK
    return {file: read_lock(file)} if file.is_file() else {}


def _say(what: str) -> None:
    """A word on the way, for somebody who watches."""
    if sys.stderr.isatty() and not os.environ.get("CI"):
        print(what, file=sys.stderr)


def _put(plain: dict[str, Any], path: list[str], value: Any, change: str) -> None:
    for key in path[:-1]:
        plain = plain.setdefault(key, {})
        if not isinstance(plain, dict):
            raise SteerlabError(f"--set {change!r}: {key!r} is a value, and has no keys")
    plain[path[-1]] = value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
