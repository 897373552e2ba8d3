"""What `steerlab show` and `steerlab compare` print: a record, and two of them side by side."""

from __future__ import annotations

import webbrowser
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from steerlab.errors import SteerlabError
from steerlab.page.pieces import duration, moment
from steerlab.records import Record, size
from steerlab.records import compare as compared


def show(path: str | Path, *, browser: bool = False) -> None:
    """Print a record: what was asked, what was found, what came of it and where it is.

    Parameters
    ----------
    path : str or Path
        The record's folder.
    browser : bool
        Whether to open its page as well.
    """
    record, console = Record.load(path), _console()
    stamp = record.stamp
    facts = {
        "status": stamp.status + (f": {stamp.reason}" if stamp.reason else ""),
        "started": moment(stamp.started),
        "took": duration(stamp.seconds),
        "seed": "" if stamp.seed is None else str(stamp.seed),
    }
    if stamp.status == "finished":
        report, pictures = record.report(), record.figures()
        console.print(_text(report.title, "bold"))
        if report.about:
            console.print(_text(report.about))
        _facts(console, facts)
        _findings(console, report.evidence)
        tables = {name: len(next(iter(columns.values()), ())) for name, columns in report.tables.items()}
        _listed(console, "tables", {name: f"{rows:,} rows" for name, rows in tables.items()})
        _listed(console, "figures", {name: str(file) for name, file in pictures.items()})
        _listed(console, "interventions", {name: one.about for name, one in report.interventions.items()})
    else:
        _facts(console, facts)
    if stamp.command:
        _listed(console, "run it again", {stamp.command: ""})
    if record.page.is_file():
        _listed(console, "page", {str(record.page): ""})
    if browser:
        _open(record)


def compare(first: str | Path, second: str | Path) -> None:
    """Print two records side by side: the evidence of both, and what about the runs differs."""
    records, console = (Record.load(first), Record.load(second)), _console()
    table = compared(*records)
    rows = list(zip(*table.values(), strict=True))
    if not rows:
        console.print("the two records do not differ, and neither holds evidence")
    for part, some in groupby(rows, key=lambda row: row[0]):
        printed = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title=_text(part, "bold"))
        for head in ("", str(first), str(second)):
            printed.add_column(_text(head), overflow="fold")
        for _, name, left, right in some:
            style = "" if left == right else "yellow"
            printed.add_row(_text(name), _text(left or "(none)", style), _text(right or "(none)", style))
        console.print(printed)


def _findings(console: Console, evidence: tuple) -> None:
    for one in evidence:
        console.print(Text.assemble(_text(f"[{one.rung}] ", "cyan"), _text(one.claim)))
        console.print(Padding(_text(size(one)), (0, 0, 0, 4)))


def _facts(console: Console, facts: dict[str, str]) -> None:
    printed = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        if value:
            printed.add_row(_text(name, "dim"), _text(value))
    console.print(printed)


def _listed(console: Console, title: str, lines: dict[str, str]) -> None:
    if lines:
        console.print(_text(title, "dim"))
    for name, value in lines.items():
        line = _text(f"  {name}" + (f"  {value}" if value else ""))
        console.print(line, soft_wrap=True)  # paths and commands are copied: they stay whole


def _text(words: str, style: str = "") -> Text:
    """Words of a record as they are: neither rich's markup nor a terminal's escape codes act."""
    plain = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in words)
    return Text(plain, style=style)


def _console() -> Console:
    return Console(highlight=False)


def _open(record: Record) -> None:
    if not record.page.is_file():
        raise SteerlabError(f"{record.folder} has no page: its run is {record.stamp.status}")
    if not webbrowser.open(record.page.resolve().as_uri()):
        raise SteerlabError(f"no browser here; open {record.page} in one")
