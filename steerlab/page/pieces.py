"""Pieces of HTML: texts escaped, numbers, boxes that scroll, figures in the page itself."""

from __future__ import annotations

import base64
import datetime
import html
import math
import re

import torch

LONGEST = 400  # characters of a text in a table
_PNG = b"\x89PNG\r\n\x1a\n"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def text(value: object) -> str:
    """Anything as text that HTML shows and never obeys; what no page can hold becomes a mark."""
    plain = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", plain.replace("\r\n", "\n")), quote=True)


def number(value: float) -> str:
    """Four digits, whole numbers in full."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    written = str(value) if isinstance(value, int) else f"{value:.4g}"
    return written.replace("-", "\N{MINUS SIGN}", 1) if written.startswith("-") else written


def cell(value: object) -> str:
    """What a table shows of an entry: a number, a text, or the shape of a tensor."""
    if isinstance(value, torch.Tensor):
        if value.ndim:
            return text(f"[{' × '.join(str(n) for n in value.shape)}]")
        value = value.item()
    if isinstance(value, (int, float)):
        return number(value)
    written = "" if value is None else str(value)
    return text(written if len(written) <= LONGEST else written[:LONGEST] + " …")


def scrolls(inside: str, label: str) -> str:
    """A box that scrolls sideways by itself, by finger and by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{inside}</div>'


def code(source: str, label: str) -> str:
    """Lines of code that are never broken."""
    return scrolls(f"<pre><code>{text(source)}</code></pre>", label)


def image(content: bytes, alt: str) -> str:
    """A PNG or SVG inside the page."""
    kind, size = "svg+xml", ""
    if content.startswith(_PNG):
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        kind, size = "png", f' width="{width}" height="{height}" style="--wide:{width}px"'
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{text(alt)}"{size}>'


def facts(pairs: dict[str, str]) -> str:
    """Names and values, those that are empty left out."""
    rows = [f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in pairs.items() if v]
    return f'<dl class="facts">{"".join(rows)}</dl>'


def moment(stamp: str) -> str:
    """``2026-11-21T18:27:38+00:00`` as people write it; what is no time stays as it is."""
    try:
        when = datetime.datetime.fromisoformat(stamp).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return stamp
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
