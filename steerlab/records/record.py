"""A record: the folder that a run leaves, whether it finished, failed or was interrupted."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from steerlab.bases.formats.files import Source
from steerlab.errors import SteerlabError
from steerlab.figures.plots import draw
from steerlab.page import page
from steerlab.records.holding import Hold, is_held
from steerlab.records.writing import file_names, remove, whole_file, whole_folder
from steerlab.report import Report
from steerlab.stamps import Stamp, without_places

RECIPE, STAMP, LOCK = "recipe.toml", "record.json", "lock.json"
REPORT, FIGURES, PAGE = "report", "figures", "report.html"
OURS = (RECIPE, STAMP, LOCK, REPORT, FIGURES, PAGE)


@dataclass(eq=False)
class Record:
    """One run on disk; as a context, it notes how the run ended.

    ``with Record.begin("runs/heads", text) as record: record.finish(ask())``

    Attributes
    ----------
    folder : Path
        Where everything is.
    recipe : str
        The resolved recipe, in TOML.
    stamp : Stamp
        How the run ended, when, on what.
    """

    folder: Path
    recipe: str
    stamp: Stamp
    _began: float = field(default_factory=time.monotonic)
    _hold: Hold | None = None

    @staticmethod
    def begin(
        folder: str | Path,
        recipe: str,
        *,
        seed: int | None = None,
        command: str = "",
        overwrite: bool = False,
    ) -> Record:
        """Start a record; from now on the folder says that the run goes on.

        Parameters
        ----------
        folder : str or Path
            Where; it is made. What an unfinished record left of itself is cleared, other files stay.
        recipe : str
            The resolved recipe, in TOML.
        seed : int, optional
            Where the run's randomness begins.
        command : str
            What repeats the run.
        overwrite : bool
            Whether a finished record may give way.
        """
        path = Path(folder)
        _make_way(path, overwrite)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise SteerlabError(f"cannot write to the folder {folder}: {fault.strerror}") from None
        record = Record(path, recipe, Stamp.now(seed, command), _hold=Hold(path).take())
        record._stamp()  # first, so that a half-cleared folder never looks finished
        for name in (LOCK, REPORT, FIGURES, PAGE, *(f"{name}.part" for name in OURS)):
            remove(path / name)
        whole_file(path / RECIPE, recipe.encode("utf-8", "replace"))
        return record

    def resolved(self, plain: Mapping[str, Any]) -> None:
        """Write what the recipe's names stood for: ``lock.json``."""
        self._still_runs()
        text = json.dumps(plain, indent=1, allow_nan=False)
        whole_file(self.folder / LOCK, text.encode("utf-8"))

    def finish(self, report: Report) -> None:
        """Write the answer, its figures and its page; then say that the run finished."""
        self._still_runs()
        with whole_folder(self.folder / REPORT) as part:
            report.save(part)
        images: dict[str, bytes | str] = {}
        with whole_folder(self.folder / FIGURES) as part:
            for name, file in file_names(report.plots).items():
                images[name] = _drawn(report, name)
                if isinstance(images[name], bytes):
                    (part / file).write_bytes(images[name])
        self._end("finished", "", report, images)

    def fail(self, reason: str) -> None:
        """Say that the run ended without an answer, and why."""
        self._still_runs()
        self._end("failed", reason)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stamp.status != "running":
            return
        if kind is None:
            self._end("failed", "it ended without a report")
        elif issubclass(kind, KeyboardInterrupt):
            self._end("interrupted", "interrupted from the keyboard")
        else:
            self._end("failed", str(fault) if kind is SteerlabError else f"{kind.__name__}: {fault}")

    @staticmethod
    def load(folder: str | Path) -> Record:
        """Read a record; nothing in it is run, and its report is read when it is asked for."""
        source = Source(Path(folder))
        if not source.has(STAMP):
            raise SteerlabError(f"{folder} holds no record: there is no {STAMP}")
        stamp = Stamp.read(source.json(STAMP), f"{folder}: {STAMP}")
        try:
            recipe = (source.folder / RECIPE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise SteerlabError(f"{folder}: {RECIPE} cannot be read: {fault}") from None
        if stamp.status == "running" and not is_held(source.folder):
            stamp = replace(
                stamp, status="killed", reason="its process ended without a word; --resume goes on"
            )
        return Record(source.folder, recipe, stamp)

    @property
    def page(self) -> Path:
        """Where the page is."""
        return self.folder / PAGE

    def report(self) -> Report:
        """The answer of a finished run, read from the folder."""
        if self.stamp.status != "finished":
            why = f" ({self.stamp.reason})" if self.stamp.reason else ""
            raise SteerlabError(f"{self.folder} has no report: its run is {self.stamp.status}{why}")
        return Report.load(self.folder / REPORT)

    def figures(self) -> dict[str, Path]:
        """The figures of a finished run that could be drawn: files by name."""
        paths = {n: self.folder / FIGURES / file for n, file in file_names(self.report().plots).items()}
        return {name: path for name, path in paths.items() if path.is_file()}

    def _still_runs(self) -> None:
        if self.stamp.status != "running":
            raise SteerlabError(f"{self.folder}: the record is {self.stamp.status} already")

    def _stamp(self) -> None:
        text = json.dumps(self.stamp.plain(), indent=1, allow_nan=False)
        whole_file(self.folder / STAMP, text.encode("utf-8"))

    def _end(
        self, status: str, reason: str, report: Report | None = None, images: dict[str, Any] | None = None
    ) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        stamp = replace(self.stamp, status=status, reason=without_places(reason), seconds=seconds)
        html = page(stamp, report, figures=images or {}, recipe=self.recipe)
        whole_file(self.page, html.encode("utf-8"))
        self.stamp = stamp
        self._stamp()  # last, so that a record that says it finished is whole
        if self._hold is not None:
            self._hold.release()


def _drawn(report: Report, name: str) -> bytes | str:
    """A figure as PNG, or why it cannot be drawn: numbers that were paid for are not lost over a picture."""
    plot, image = report.plots[name], io.BytesIO()
    try:
        draw(plot.kind, report.tables[plot.table], plot).savefig(image, format="png")
    except SteerlabError as fault:
        return str(fault)
    return image.getvalue()


def _make_way(folder: Path, overwrite: bool) -> None:
    """Refuse a folder whose files would be lost."""
    held = [name for name in OURS if (folder / name).exists()]
    if held and STAMP not in held:
        raise SteerlabError(f"{folder} holds {', '.join(held)} that no record wrote; give another folder")
    if held and not overwrite:
        stamp = Record.load(folder).stamp if RECIPE in held else None
        if stamp is not None and stamp.status == "finished":
            raise SteerlabError(
                f"{folder} holds a finished record of {stamp.started}; give another folder, "
                "or say that it may be overwritten (--again)"
            )
