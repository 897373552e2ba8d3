"""The whole page of a record, from its stamp, its report, its figures and its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from steerlab.page import sections
from steerlab.page.pieces import duration, facts, moment, text
from steerlab.report import Report
from steerlab.stamps import Stamp

STYLE = Path(__file__).with_name("style.css")
# Even if something slipped through unescaped, a browser would load nothing and run nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
UNFINISHED = {
    "running": "A run that has not ended",
    "interrupted": "A run that was interrupted",
    "failed": "A run that failed",
    "killed": "A run that was killed",
}


def page(
    stamp: Stamp,
    report: Report | None,
    *,
    figures: Mapping[str, bytes | str] | None = None,
    recipe: str = "",
) -> str:
    """One self-contained HTML file.

    Parameters
    ----------
    stamp : Stamp
        How the run ended, when and on what.
    report : Report or None
        Its answer; None where there is none.
    figures : mapping
        PNG or SVG files by the names of the report's plots, or a text that says why there is none.
    recipe : str
        The resolved recipe.
    """
    asked = report or Report(UNFINISHED.get(stamp.status, "A run without a report"))
    body = [
        _header(stamp, asked),
        sections.section("What was found", sections.findings(asked.evidence)),
        sections.section("Figures", sections.figures(asked.plots, figures or {})),
        sections.section("Interventions", sections.interventions(asked.interventions)),
        sections.section("Tables", sections.tables(asked.tables)),
        sections.section("Receipts", sections.receipts(asked.receipts)),
        sections.section("Run it again", sections.again(stamp, recipe)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f"<title>{text(asked.title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in body if part)}\n</main></body></html>\n"
    )


def _header(stamp: Stamp, asked: Report) -> str:
    about = f'<p class="about">{text(asked.about)}</p>' if asked.about else ""
    note = f'<p class="warning">{text(stamp.reason)}</p>' if stamp.reason else ""
    told = facts(
        {
            "status": stamp.status,
            "started": moment(stamp.started),
            "took": duration(stamp.seconds),
            "seed": "" if stamp.seed is None else str(stamp.seed),
        }
    )
    title = f'<p class="kind">steerlab record</p><h1>{text(asked.title)}</h1>'
    return f"<header>{title}{about}{note}{told}</header>"
