"""Files and folders that appear whole or not at all, under names that every system takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steerlab.report import slug


def file_names(names: Iterable[str], ending: str = ".png") -> dict[str, str]:
    """A file name for each name, safe on every system and never the same for two of them."""
    found: dict[str, str] = {}
    for name in names:
        stem, count = slug(name), 2
        while stem + ending in found.values():
            stem, count = f"{slug(name)}-{count}", count + 1
        found[name] = stem + ending
    return found


def whole_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when all of it is written and goes away when that fails."""
    part = path.with_name(path.name + ".part")
    remove(part)
    part.mkdir()
    try:
        yield part
        remove(path)
        part.rename(path)
    except BaseException:
        remove(part)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; a link goes, what it points at stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
