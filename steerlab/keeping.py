"""What a long run has done so far, kept batch by batch, so that a run that was killed can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file


class Keeper:
    """Batches of numbers on disk, by the order in which the run asks for them.

    Parameters
    ----------
    folder : Path
        Where; made when the first batch is done.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused = 0
        self._calls = 0

    def next_call(self, what: str) -> str:
        """The name of the next loop of the run: its number, and what it is about."""
        self._calls += 1
        return f"{self._calls:03d}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"

    def batch(self, call: str, number: int, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """One batch of a loop: from disk where it was done before, else computed and kept."""
        file = self.folder / f"{call}-{number:06d}.safetensors"
        if file.is_file():
            try:
                values = load_file(file)["values"]
            except (SafetensorError, KeyError, OSError):
                file.unlink()  # half of a batch is none
            else:
                self.reused += 1
                return values
        values = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        save_file({"values": values.detach().cpu().contiguous()}, part)
        part.replace(file)
        return values


_NOW: ContextVar[Keeper | None] = ContextVar("keeper", default=None)


def keeper() -> Keeper | None:
    """The keeper of the run that is going on, if it has one."""
    return _NOW.get()


def kept(what: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What `compute` gives; in a run that is gone on with, what it gave before.

    Parameters
    ----------
    what : str
        What is computed: with the order in which the run asks, the name of the result on disk.
    compute : callable
        One batch of the work.
    """
    mine = keeper()
    return compute() if mine is None else mine.batch(mine.next_call(what), 0, compute)


def kept_texts(what: str, compute: Callable[[], Any]) -> Any:
    """As `kept`, for texts: whatever JSON holds."""

    def as_bytes() -> torch.Tensor:
        return torch.frombuffer(bytearray(json.dumps(compute()).encode()), dtype=torch.uint8)

    return json.loads(bytes(kept(what, as_bytes).tolist()))


@contextmanager
def keeping(folder: Path) -> Iterator[Keeper]:
    """Keep what the loops inside have done in `folder`, and take from it what they did before."""
    mine = Keeper(folder)
    token = _NOW.set(mine)
    try:
        yield mine
    finally:
        _NOW.reset(token)
