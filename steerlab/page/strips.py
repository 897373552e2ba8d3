"""A finding drawn: its effect, its controls and its noise floor on one line, beside the numbers."""

from __future__ import annotations

import math

from steerlab.page.pieces import number, text
from steerlab.report import Evidence

MOST = 200  # controls drawn; the numbers speak of all
MARGIN = 3.0  # per cent of the line that stays free on either side


def finding(one: Evidence) -> str:
    """A claim with its rung, its line and its numbers."""
    return (
        f'<article class="finding"><h3>{text(one.claim)}</h3>'
        f'<p class="rung"><span class="tag {text(one.rung)}">{text(one.rung)}</span> {verdict(one)}</p>'
        f"{strip(one)}{legend(one)}</article>"
    )


def verdict(one: Evidence) -> str:
    """What the numbers say by themselves: inside or outside what chance and arithmetic do.

    Our own definition: outside when the effect lies beyond the smallest or the largest control, and farther
    from 0 than the noise floor.
    """
    if not math.isfinite(one.effect):
        return "no finite number"
    words, controls = [], _finite(one.controls)
    if one.controls and not controls:
        words.append("none of its controls is a finite number")
    elif controls:
        outside = not min(controls) <= one.effect <= max(controls)
        count = f"{len(controls)} matched control{'s' if len(controls) > 1 else ''}"
        words.append(f"{'outside' if outside else 'inside'} the range of {count}")
    if one.floor is not None:
        words.append(f"{'above' if abs(one.effect) > abs(one.floor) else 'within'} the noise floor")
    return " and ".join(words) or "no controls and no noise floor were measured"


def strip(one: Evidence) -> str:
    """The line: 0 is always on it, so that lengths can be compared by eye."""
    controls = _finite(one.controls)[:MOST]
    floor = _finite(() if one.floor is None else (one.floor,))
    effect = _finite((one.effect,))
    drawn = [0.0, *controls, *floor, *effect]
    low, high = min(drawn), max(drawn)
    if not math.isfinite(high - low) or high == low:
        return ""  # nothing to see: no numbers, or all of them 0

    def place(value: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (value - low) / (high - low)

    def mark(kind: str, value: float) -> str:
        return f'<i class="{kind}" style="left:{place(value):.2f}%"></i>'

    marks = [mark("zero", 0.0), *(mark("floor", value) for value in floor)]
    marks += [mark("control", value) for value in controls]
    for value in effect:
        start, end = sorted((place(0.0), place(value)))
        marks.append(f'<i class="bar" style="left:{start:.2f}%;width:{end - start:.2f}%"></i>')
        marks.append(mark("effect", value))
    label = text(f"effect {number(one.effect)}, {len(one.controls)} controls, from {low:.4g} to {high:.4g}")
    ends = f'<p class="ends"><span>{number(low)}</span><span>{number(high)} {text(one.unit)}</span></p>'
    return f'<div class="strip" role="img" aria-label="{label}">{"".join(marks)}</div>{ends}'


def legend(one: Evidence) -> str:
    """The numbers, each with its sign."""
    parts = [("effect", "effect", f"{number(one.effect)} {one.unit}".strip())]
    if one.controls:
        parts.append(("control", "controls", _spread(one.controls)))
    if one.floor is not None:
        parts.append(("floor", "noise floor", number(one.floor)))
    rows = [
        f'<div><dt><i class="key {kind}"></i>{name}</dt><dd>{text(value)}</dd></div>'
        for kind, name, value in parts
    ]
    return f'<dl class="numbers">{"".join(rows)}</dl>'


def _spread(controls: tuple[float, ...]) -> str:
    """The mean and the range of the controls, those that are no finite numbers counted apart."""
    finite = _finite(controls)
    lost = len(controls) - len(finite)
    beside = f", {lost} not finite" if lost else ""
    if not finite:
        return f"{lost} of {lost} not finite"
    if len(finite) == 1:
        return number(finite[0]) + beside
    mean = sum(finite) / len(finite)
    return f"{number(mean)}, mean of {len(finite)} ({number(min(finite))} to {number(max(finite))}){beside}"


def _finite(values: tuple[float, ...]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
