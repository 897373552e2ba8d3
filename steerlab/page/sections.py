"""Sections of the page: what a report holds and how its run can be repeated, each as HTML."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from steerlab.intervention import Intervention
from steerlab.page.pieces import cell, code, facts, image, scrolls, text
from steerlab.page.strips import finding
from steerlab.report import Evidence, Plot, Table, slug
from steerlab.rewiring import Rewired
from steerlab.stamps import Stamp

ROWS, OPEN = 40, 12  # rows shown at most; tables up to this long lie open


def section(title: str, inside: str) -> str:
    """A titled part of the page; nothing where there is nothing to show."""
    return f"<section><h2>{text(title)}</h2>{inside}</section>" if inside else ""


def findings(evidence: tuple[Evidence, ...]) -> str:
    """Every finding beside what it must exceed."""
    return "".join(finding(one) for one in evidence)


def figures(plots: Mapping[str, Plot], images: Mapping[str, bytes | str]) -> str:
    """Figures with captions; a text in place of an image says why it could not be drawn."""
    shown = []
    for name, plot in plots.items():
        content = images.get(name, "it was not drawn")
        inside = (
            scrolls(image(content, plot.title), f"figure: {plot.title}")
            if isinstance(content, bytes)
            else f'<p class="note">This figure is missing: {text(content)}.</p>'
        )
        from_table = f'<span class="source">from the table {text(plot.table)}</span>'
        caption = f"<figcaption><strong>{text(plot.title)}</strong> {from_table}</figcaption>"
        shown.append(f'<figure class="drawn">{inside}{caption}</figure>')
    return "".join(shown)


def tables(all_of_them: Mapping[str, Table]) -> str:
    """Tables, long ones cut with a note and folded."""
    return "".join(table(name, columns) for name, columns in all_of_them.items())


def table(name: str, columns: Table) -> str:
    """One table."""
    count = len(next(iter(columns.values()), ()))
    numbers = {key: isinstance(values, torch.Tensor) for key, values in columns.items()}
    align = {key: ' class="n"' if number else "" for key, number in numbers.items()}
    head = "".join(f'<th scope="col"{align[key]}>{text(key)}</th>' for key in columns)
    rows = (
        "".join(f"<td{align[key]}>{cell(values[i])}</td>" for key, values in columns.items())
        for i in range(min(count, ROWS))
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    size = f"{_counted(count, 'row')}, {_counted(len(columns), 'column')}"
    note = f'<p class="note">The first {ROWS} of {count:,} rows; the folder report holds all.</p>'
    inside = scrolls(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", f"table: {name}")
    summary = f'<summary>{text(name)} <span class="source">{size}</span></summary>'
    shown = " open" if count <= OPEN else ""
    return f"<details{shown}>{summary}{inside}{note if count > ROWS else ''}</details>"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def interventions(named: Mapping[str, Intervention | Rewired]) -> str:
    """What each intervention is, and the lines that apply it."""
    return "".join(_intervention(name, one) for name, one in named.items())


def _intervention(name: str, one: Intervention | Rewired) -> str:
    edited = isinstance(one, Intervention)
    lines = (
        [f"{at}: {edit!r}" for at, edits in one.edits.items() for edit in edits] if edited else [repr(one)]
    )
    inside = (
        "with model.edit(change):\n    ...  # every call of the model is edited here"
        if edited
        else "with sl.rewired(model, change):\n    ...  # every call of the model is rewired here"
    )
    about = f"<p>{text(one.about)}</p>" if one.about else ""
    fits = facts({"made on": one.fits.model if one.fits else "", "licence": one.licence or ""})
    apply = (
        "import steerlab as sl\n\n"
        f'change = sl.load_intervention("report/interventions/{slug(name)}.steer")\n'
        f"{inside}"
    )
    label = f"intervention {name}"
    return (
        f'<article class="intervention"><h3>{text(name)}</h3>{about}'
        f"{code(chr(10).join(lines), f'edits of the {label}')}{fits}"
        f"{code(apply, f'how to apply the {label}')}"
        "</article>"
    )


def receipts(lines: tuple[str, ...]) -> str:
    """What every intervention did in the runs."""
    return code("\n".join(lines), "receipts") if lines else ""


def again(stamp: Stamp, recipe: str) -> str:
    """The command that repeats the run, its recipe, and what it ran on."""
    command = code(stamp.command, "command") if stamp.command else ""
    written = f"<h3>Recipe</h3>{code(recipe.rstrip(), 'recipe')}" if recipe.strip() else ""
    on = facts({**stamp.versions, **stamp.platform})
    return f"{command}{written}<h3>Versions and machine</h3>{on}"
