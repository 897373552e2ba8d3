"""What `steerlab run` does: a recipe read, changed, tried dry, or run into a record."""

from __future__ import annotations

import shlex
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
import torch

from steerlab.errors import SteerlabError
from steerlab.keeping import keeping
from steerlab.loading import load
from steerlab.recipe import Recipe
from steerlab.records import Record

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


def plan(recipe: Recipe) -> str:
    """What a run would open and look at; the model is opened, and nothing is run on the data."""
    model = load(recipe.model)
    data = recipe.data.load(recipe.folder)
    lines = [f"model     {recipe.model}: {type(model.module).__name__}, family {model.family.name}"]
    count = len(data) if isinstance(data, (list, tuple, torch.Tensor)) else 1
    lines.append(f"data      {type(recipe.data).__name__}, {count} inputs")
    lines.append(f"analyzer  {recipe.to_toml().split('[analyzer]')[-1].strip().replace(chr(10), ', ')}")
    for name in ("at", "site"):
        at = getattr(recipe.analyzer, name, None)
        if not isinstance(at, str):
            continue
        found = model.sites(at)
        needed = model.memory_estimate(data, at)
        lines.append(
            f"{name:9} {at}: {len(found)} sites, {found[0]} to {found[-1]}; {needed / 2**20:.1f} MiB to read"
        )
    parameters = sum(p.numel() for root in model._roots.values() for p in root.parameters())
    lines.append(f"weights   {parameters / 1e6:.1f} million parameters")
    return "\n".join(lines)


def run(
    path: str | Path,
    out: str | Path | None,
    changes: Sequence[str] = (),
    *,
    again: bool = False,
    resume: bool = False,
) -> Record:
    """Run a recipe and leave a record.

    Parameters
    ----------
    path : str or Path
        The recipe.
    out : str or Path, optional
        The record's folder; ``runs/<name of the recipe>`` by default.
    changes : sequence of str
        As for `read`.
    again : bool
        Whether a finished record may be replaced.
    resume : bool
        Go on where a run of the same recipe was cut off: what it had finished is not done again.
    """
    recipe = read(path, changes)
    folder = Path(out) if out is not None else Path("runs") / Path(path).stem
    given = "".join(f" --set {shlex.quote(change)}" for change in changes)
    command = f"steerlab run {shlex.quote(Path(path).name)}{given}"
    progress = folder / PROGRESS
    if resume:
        _refuse_another(folder, recipe)
    elif progress.is_dir() and not _is_finished(folder):
        shutil.rmtree(progress)
    text = recipe.to_toml()
    with Record.begin(folder, text, seed=recipe.seed, command=command, overwrite=again) as record:
        with keeping(progress):
            report = recipe.run()
        record.finish(report)
    shutil.rmtree(progress, ignore_errors=True)
    return record


def _is_finished(folder: Path) -> bool:
    return (folder / "record.json").is_file() and Record.load(folder).stamp.status == "finished"


def _refuse_another(folder: Path, recipe: Recipe) -> None:
    """Refuse to go on with what is no unfinished run of this recipe."""
    if not (folder / "record.json").is_file():
        raise SteerlabError(f"{folder} holds no run to go on with; leave out --resume")
    record = Record.load(folder)
    if record.stamp.status == "finished":
        raise SteerlabError(f"{folder} holds a finished record; there is nothing to go on with")
    if record.recipe != recipe.to_toml():
        raise SteerlabError(f"{folder} holds a run of another recipe; give its own, or another folder")


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
