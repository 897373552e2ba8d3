"""What an intervention did in a run: fired where, on how much, and how far it moved the stream."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.moment import Moment
from steerlab.sites import Site


@dataclass(eq=False)
class Entry:
    """One edit at one site.

    Attributes
    ----------
    site, edit : Site, str
        Where, and what.
    fires : int
        How often the site fired.
    rows, tokens : int
        Rows of the largest batch; entries along the token axis that the scope chose, over all fires.
    waits : int
        How often the site fired when it was not the time.
    steps : set of int
        Denoising steps in which the edit acted.
    branches : set of str
        Guidance branches on which it acted.
    casts : int
        How often the edit returned another dtype, which was cast back to the stream's.
    dtype : str
        The stream's dtype.
    on_purpose : bool
        Whether the edit was asked to change nothing, by a strength of 0.
    """

    site: Site
    edit: str
    fires: int = 0
    rows: int = 0
    casts: int = 0
    waits: int = 0
    steps: set[int] = field(default_factory=set)
    branches: set[str] = field(default_factory=set)
    dtype: str = ""
    on_purpose: bool = False
    _tokens: torch.Tensor | int = 0
    _moved: torch.Tensor | float = 0.0
    _size: torch.Tensor | float = 0.0
    _changed: torch.Tensor | int = 0
    _others: set[str] = field(default_factory=set)
    _steps_seen: int = 0

    def mark(self, moment: Moment, branch: str | None) -> None:
        """Note the step and the branches of one fire."""
        if moment.step is not None:
            self.steps.add(moment.step.index)
        if moment.branches is not None:
            self.branches.update(moment.branches if branch in (None, "both") else [branch])

    def wait(self, moment: Moment) -> None:
        """Note a fire at another time than the scope's."""
        self.waits += 1
        if moment.branches is not None:
            self._others.update(moment.branches)
        if moment.step is not None:
            self._steps_seen = moment.step.count

    @property
    def tokens(self) -> int:
        """Entries along the token axis that the scope chose, over all fires."""
        return int(self._tokens)

    @property
    def changed(self) -> int:
        """Numbers that differ from before, over all fires."""
        return int(self._changed)

    @property
    def relative(self) -> float:
        """``||Δ|| / ||x||`` of the chosen entries over all fires.

        NaN where the site never fired, infinite where `x` was zero.
        """
        size, moved = float(self._size) ** 0.5, float(self._moved) ** 0.5
        if not self.fires or not size:
            return float("inf") if moved else 0.0 if self.fires else float("nan")
        return moved / size

    def __str__(self) -> str:
        # what is forbidden at scores has no norm, so its size is told by its number
        size = f"changed {self.changed:,}" if self.site.stream == "scores" else f"|Δ|/|x| {self.relative:.3g}"
        when = f", steps {_ranges(self.steps)}" if self.steps else ""
        when += f", {' + '.join(sorted(self.branches))}" if self.branches else ""
        return (
            f"{self.site!s:32} {self.edit:40} fired {self.fires}{when}, rows {self.rows}, "
            f"tokens {self.tokens}, {size}, {self.dtype}{f', {self.casts} casts' if self.casts else ''}"
        )


@dataclass(eq=False)
class Receipt:
    """The entries of one run or context, in the order in which the edits were listed."""

    entries: list[Entry] = field(default_factory=list)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, site: str | Site) -> Entry:
        """The first entry at a site."""
        wanted = Site.parse(site)
        for entry in self.entries:
            if entry.site == wanted:
                return entry
        raise SteerlabError(f"no edit at {wanted}; this receipt has {', '.join(str(e.site) for e in self)}")

    def check(self) -> None:
        """Refuse edits that never fired, chose nothing or made NaN; warn of those that changed nothing."""
        for entry in self.entries:
            if not entry.fires and entry.waits:
                on = f" on {' and '.join(sorted(entry._others))}" if entry._others else ""
                steps = f", in {entry._steps_seen} steps" if entry._steps_seen else ""
                raise SteerlabError(
                    f"{entry.site}: {entry.edit} never had its time: the site fired {entry.waits} "
                    f"times{on}{steps} (strict=False accepts this)"
                )
            if not entry.fires:
                raise SteerlabError(
                    f"{entry.site}: {entry.edit} never fired. Did a forward run inside the context, and does "
                    "it reach this site? A model that ran compiled before skips new hooks. "
                    "(strict=False accepts this)"
                )
            if not entry.tokens:
                raise SteerlabError(
                    f"{entry.site}: the scope of {entry.edit} chose nothing in {entry.fires} fires "
                    "(strict=False accepts this)"
                )
            if not math.isfinite(float(entry._moved)):
                raise SteerlabError(f"{entry.site}: {entry.edit} made values that are NaN or infinite")
        idle = [f"{e.site}: {e.edit}" for e in self.entries if not e.changed and not e.on_purpose]
        if idle:
            warnings.warn(f"changed nothing: {'; '.join(idle)}", SteerlabWarning, stacklevel=3)

    def __str__(self) -> str:
        return "\n".join(str(entry) for entry in self.entries) or "no edits"


def _ranges(numbers: set[int]) -> str:
    """Whole numbers, runs of them from end to end: ``0-3, 7``."""
    ends: list[list[int]] = []
    for number in sorted(numbers):
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ends)


def note(
    entry: Entry,
    x: torch.Tensor,
    y: torch.Tensor,
    tokens: torch.Tensor | int,
    finite: bool,
    chosen: torch.Tensor | None = None,
) -> None:
    """Add one fire to an entry; nothing is moved off the device.

    Parameters
    ----------
    entry : Entry
        The entry to add to.
    x, y : Tensor
        The activation before and after.
    tokens : Tensor or int
        How many entries along the token axis the scope chose.
    finite : bool
        False at scores, where masked entries are infinite and left out of the norms.
    chosen : Tensor, optional
        `x` with zeros where the scope chose nothing: what the change is measured against.
    """
    x, y = x.detach(), y.detach()
    size = x.float() if chosen is None else chosen.detach().float()
    moved = y.float() - x.float()
    if not finite:
        moved = moved.nan_to_num(0.0, 0.0, 0.0)
        size = size.nan_to_num(0.0, 0.0, 0.0)
    entry.fires += 1
    entry.rows = max(entry.rows, x.shape[0])
    entry.dtype = str(x.dtype)[6:]
    entry._tokens = entry._tokens + tokens
    entry._moved = entry._moved + torch.linalg.vector_norm(moved).square()
    entry._size = entry._size + torch.linalg.vector_norm(size).square()
    entry._changed = entry._changed + torch.count_nonzero(y != x)
