"""Who writes a record now: a lock that ends with its process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from steerlab.errors import SteerlabError

try:
    import fcntl
except ImportError:  # Windows: nothing is held there, and a run that was killed stays "running"
    fcntl = None

NAME = ".running"


class Hold:
    """A folder, held by this process until `release`, or until the process is gone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: IO[str] | None = None

    def take(self) -> Hold:
        """Hold the folder, or refuse where another run does."""
        while self._file is None:
            file = self._path.open("a")
            if not _locked(file):
                file.close()
                raise SteerlabError(f"another run is writing to {self._path.parent}; give another folder")
            if _is_at(file, self._path):  # and not a file that its holder has just removed
                self._file = file
            else:
                file.close()
        return self

    def release(self) -> None:
        """Let go; twice is once."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.release()  # a record that nobody ended


def is_held(folder: Path) -> bool:
    """Whether a process that still lives writes to the folder, as far as the system can tell."""
    if fcntl is None:
        return True
    try:
        file = (folder / NAME).open("r+")
    except OSError:
        return False
    with file:
        return not _locked(file)


def _locked(file: IO[str]) -> bool:
    """Lock an open file; False where somebody else has."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
