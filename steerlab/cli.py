"""The command line: `steerlab demo`, `run`, `show`, `compare`, `sites`, `doctor` and `list`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import steerlab
from steerlab.errors import SteerlabError

MISTAKE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        What follows the program's name; from the command line by default.

    Returns
    -------
    int
        0 where all went well, 2 after a mistake in what was asked, 130 after an interrupt.
    """
    chosen = _parser().parse_args(arguments)
    try:
        chosen.command(chosen)
        sys.stdout.flush()
    except SteerlabError as mistake:
        print(f"steerlab: {mistake}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("steerlab: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="steerlab",
        description="Open a pretrained model, read any activation, change it, prove the change.",
    )
    parser.add_argument("--version", action="version", version=f"steerlab {steerlab.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = _command(
        commands, "demo", "open two real models, change them and measure: figures, tables, receipts", _demo
    )
    demo.add_argument(
        "--out", default="runs/demo", metavar="DIR", help="the folder to write to (%(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="one prompt and fewer controls")

    model = "zoo:<name>, timm:<name>, a folder or a hub id"
    _command(commands, "sites", "print the sites of a model", _sites).add_argument("model", help=model)
    _command(commands, "doctor", "what is covered, what is not and why", _doctor).add_argument(
        "model", help=model
    )
    run = _command(commands, "run", "run a recipe and leave a record: report, figures, a page", _run)
    run.add_argument("recipe", help="a TOML file")
    run.add_argument("--out", metavar="DIR", help="the record's folder (runs/<name of the recipe>)")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value, as analyzer.batch=8"
    )
    run.add_argument("--dry-run", action="store_true", help="resolve everything, print it, run nothing")
    run.add_argument("--resume", action="store_true", help="go on where the same recipe was cut off")
    run.add_argument("--lock", metavar="FILE", help="a record's lock.json: refuse what resolves otherwise")
    run.add_argument("--again", action="store_true", help="replace a finished record")
    show = _command(commands, "show", "print a record", _show)
    show.add_argument("record", help="its folder")
    show.add_argument("--open", action="store_true", help="open its page in the browser as well")
    compare = _command(commands, "compare", "two records side by side", _compare)
    compare.add_argument("records", nargs=2, metavar="RECORD")
    _command(commands, "list", "families, edits, formats, embedded models, faulty plug-ins", _list)
    return parser


def _command(commands: Any, name: str, does: str, run: Callable) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=does, description=does)
    parser.set_defaults(command=run)
    return parser


def _demo(chosen: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    _hush()
    from steerlab import demo

    console = Console(highlight=False)
    columns = (BarColumn(24), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("importing", total=1.0)
        outcome = demo.run(
            chosen.out,
            quick=chosen.quick,
            tick=lambda what, done: progress.update(task, description=what, completed=done),
        )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for asked, found in outcome.findings:
        table.add_row(asked, found)
    console.print(table)
    for path in outcome.files:
        console.print(str(path), style="bold", markup=False, soft_wrap=True)


def _run(chosen: argparse.Namespace) -> None:
    _hush()
    from steerlab import planning, running, showing

    if chosen.dry_run:
        print(planning.plan(running.read(chosen.recipe, chosen.set)))
        return
    how = {"again": chosen.again, "resume": chosen.resume, "lock": chosen.lock}
    record = running.run(chosen.recipe, chosen.out, chosen.set, **how)
    showing.show(record.folder)


def _show(chosen: argparse.Namespace) -> None:
    from steerlab import showing

    showing.show(chosen.record, browser=chosen.open)


def _compare(chosen: argparse.Namespace) -> None:
    from steerlab import showing

    showing.compare(*chosen.records)


def _sites(chosen: argparse.Namespace) -> None:
    print(_opened(chosen.model))


def _doctor(chosen: argparse.Namespace) -> None:
    print(_opened(chosen.model).doctor())


def _list(chosen: argparse.Namespace) -> None:
    from steerlab import zoo
    from steerlab.analyzers import ANALYZERS
    from steerlab.bases.formats import FORMATS
    from steerlab.edits import EDITS
    from steerlab.families import FAMILIES
    from steerlab.zoo import dictionaries

    print("families (types of models each is for)")
    for name in FAMILIES:
        towers = [prefix for prefix in FAMILIES[name].towers if prefix]
        inside = f"; towers {', '.join(towers)}" if towers else ""
        print(f"  {name:22} {', '.join(FAMILIES[name].types) or 'any module, by paths'}{inside}")
    print("edits")
    for name in EDITS:
        does = (EDITS[name].__doc__ or "").strip().partition("\n")[0].replace("``", "")
        print(f"  {name:22} {does}".rstrip())
    print("analyzers")
    for name in ANALYZERS:
        does = (ANALYZERS[name].__doc__ or "").strip().partition("\n")[0].replace("``", "")
        print(f"  {name:22} {does}".rstrip())
    print("formats of dictionaries")
    for name in FORMATS:
        print(f"  {name:22} {FORMATS[name].about}")
    print("embedded models")
    for name in zoo.names():
        print(f"  zoo:{name}")
    print("embedded dictionaries")
    for name in dictionaries.names():
        print(f"  zoo:{name}")
    print("recipes below this folder")
    for path, about in _recipes_below(Path()):
        print(f"  {path:40} {about}")
    registries = (FAMILIES, EDITS, FORMATS, ANALYZERS)
    faults = [(r.kind, name, fault) for r in registries for name, fault in r.faults.items()]
    print("faulty plug-ins" if faults else "no faulty plug-ins")
    for kind, name, fault in faults:
        print(f"  {kind} {name}: {fault}")


def _recipes_below(folder: Path) -> Iterator[tuple[str, str]]:
    """The recipes of a ``recipes`` folder with what they show; of what is none, why."""
    from steerlab.recipe import Recipe

    for path in sorted((folder / "recipes").rglob("*.toml")):
        try:
            yield str(path), Recipe.load(path).about
        except SteerlabError as fault:
            yield str(path), f"cannot be read: {fault}"


def _opened(name: str) -> Any:
    _hush()
    from steerlab.loading import load

    return load(name)


def _hush() -> None:
    """Keep the progress bars of others out of the output, and ours out of a CI's log."""
    if os.environ.get("CI"):
        os.environ.setdefault("TQDM_DISABLE", "1")
    import diffusers.utils.logging
    import transformers.utils.logging

    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())
