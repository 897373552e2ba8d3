"""What a record says about its run: how it ended, when, on what, and the command that repeats it."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import steerlab
from steerlab.errors import SteerlabError, listing, nearest

FORMAT, VERSION = "steerlab record", 1
STATUSES = ("running", "finished", "interrupted", "failed", "killed")
PACKAGES = ("torch", "transformers", "diffusers")


@dataclass(frozen=True)
class Stamp:
    """The circumstances of one run.

    Parameters
    ----------
    status : str
        One of `STATUSES`. A run that was killed outright never got to say more than ``"running"``; a record
        that says so and that nobody writes to is ``"killed"`` when it is read.
    started : str
        When, in UTC, as ISO 8601 writes it.
    command : str
        What a shell is told to get the same again.
    seed : int, optional
        Where its randomness began.
    seconds : float, optional
        How long it took; unknown while it runs.
    reason : str
        Why it did not finish.
    versions, platform : mapping
        Of Python and the packages that decide the numbers; the kind of machine, without its name.
    """

    status: str
    started: str
    command: str = ""
    seed: int | None = None
    seconds: float | None = None
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise SteerlabError(
                f"status={self.status!r}{nearest(self.status, STATUSES)} (known: {listing(STATUSES)})"
            )

    @staticmethod
    def now(seed: int | None, command: str) -> Stamp:
        """The stamp of a run that starts here and now."""
        moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return Stamp("running", moment, command, seed, versions=versions(), platform=machine())

    def plain(self) -> dict[str, Any]:
        """The stamp as JSON holds it."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @staticmethod
    def read(plain: Mapping[str, Any], where: str) -> Stamp:
        """The stamp that `plain` wrote; `where` names the file in errors."""
        if plain.get("format") != FORMAT or plain.get("version") != VERSION:
            found = f"format {plain.get('format')!r}, version {plain.get('version')!r}"
            raise SteerlabError(
                f"{where}: this steerlab reads format {FORMAT!r}, version {VERSION}, not {found}"
            )
        try:
            seed, seconds = plain["seed"], plain["seconds"]
            return Stamp(
                status=str(plain["status"]),
                started=str(plain["started"]),
                command=str(plain["command"]),
                seed=None if seed is None else int(seed),
                seconds=None if seconds is None else float(seconds),
                reason=str(plain["reason"]),
                versions={str(name): str(value) for name, value in plain["versions"].items()},
                platform={str(name): str(value) for name, value in plain["platform"].items()},
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as fault:
            raise SteerlabError(f"{where} is not what a record holds: {fault!r}") from None


def versions() -> dict[str, str]:
    """Versions of Python, steerlab and the packages that decide the numbers."""
    found = {"python": platform.python_version(), "steerlab": steerlab.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, str]:
    """The kind of machine: what may change the last digits, and nothing that tells whose it is."""
    found = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": str(os.cpu_count() or 1),
        "threads": str(torch.get_num_threads()),
    }
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def without_places(text: str) -> str:
    """A message without the paths of this machine: records are shared."""
    for place, short in ((str(Path.cwd()), "."), (str(Path.home()), "~")):
        if len(place) > 1:  # the root of all files would match everywhere
            text = text.replace(place, short)
    return text
