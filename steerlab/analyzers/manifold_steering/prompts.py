"""Prompts whose answers are known: templates with slots, filled with every value and offset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from steerlab.errors import SteerlabError

SLOT = re.compile(r"\{([^{}]*)\}")
TERM = re.compile(r"x(?:([+-])(\d*)(n?))?")


@dataclass(frozen=True)
class Concept:
    """Values in their order.

    Parameters
    ----------
    values : tuple of str
        What they are called.
    cyclic : bool
        Whether the first one follows the last one.
    counts : tuple of str
        How the numbers 1, 2, ... are written in prompts; empty for digits.
    """

    values: tuple[str, ...]
    cyclic: bool = True
    counts: tuple[str, ...] = ()

    def number(self, place: int) -> int | None:
        """The number of a value, counted round where values are cyclic; None beyond the ends."""
        count = len(self.values)
        return place % count if self.cyclic else place if 0 <= place < count else None

    def gap(self, start: int, end: int) -> int:
        """How many steps lie between two values, the short way."""
        apart = abs(end - start)
        return min(apart, len(self.values) - apart) if self.cyclic else apart

    def offset(self, start: int, end: int) -> int:
        """The step from one value to another, the short way round, forwards where both are equally long."""
        count = len(self.values)
        return (end - start + (count - 1) // 2) % count - (count - 1) // 2 if self.cyclic else end - start

    def counted(self, n: int) -> str:
        """A number as prompts write it."""
        if not self.counts:
            return str(n)
        if not 1 <= n <= len(self.counts):
            raise SteerlabError(f"offset {n}: counts are written for 1 to {len(self.counts)} only")
        return self.counts[n - 1]


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Parameters
    ----------
    text : str
        What is asked, up to the answer.
    family : int
        The number of its template.
    named : int or None
        The value that the prompt names as ``{x}``; None where it does not.
    answer : int
        The right answer.
    offset : int
        From the value x to the answer, the short way.
    """

    text: str
    family: int
    named: int | None
    answer: int
    offset: int


def prompts_of(templates: Sequence[str], concept: Concept, offsets: Sequence[int]) -> list[Prompt]:
    r"""Every template with every value, and with every offset where it has a slot for one.

    Slots are ``{x}``, ``{x+1}``, ``{x-2}`` (values so many steps on), ``{n}`` (the offset), ``{x+n}``,
    ``{x+2n}``. The last slot ends the template and is the answer: "The day after {x} is {x+1}",
    "{n} days after {x} is {x+n}", and, with examples before the question, "{x+2}, {x+3}\n{x}, {x+1}". A
    prompt for which a value would lie beyond the ends of an order that does not close is left out.
    """
    found: dict[str, Prompt] = {}
    for family, template in enumerate(templates):
        slots = list(SLOT.finditer(template))
        if not slots or slots[-1].end() != len(template) or slots[-1][1] == "n":
            raise SteerlabError(
                f"{template!r} has to end in a slot, the answer: 'The day after {{x}} is {{x+1}}'"
            )
        counted = any("n" in slot[1] for slot in slots)
        for n in offsets if counted else (0,):
            for x in range(len(concept.values)):
                prompt = _filled(template, family, concept, (x, n))
                if prompt is None:
                    continue
                if found.setdefault(prompt.text, prompt).answer != prompt.answer:
                    raise SteerlabError(
                        f"{prompt.text!r} has several answers: {template!r} lacks a slot {{x}}"
                    )
    return list(found.values())


def _filled(template: str, family: int, concept: Concept, at: tuple[int, int]) -> Prompt | None:
    x, n = at
    places = [_place(slot[1], x, n, template) for slot in SLOT.finditer(template)]
    numbers = [None if place is None else concept.number(place) for place in places]
    if any(number is None and place is not None for number, place in zip(numbers, places, strict=True)):
        return None
    words = iter(concept.counted(n) if one is None else concept.values[one] for one in numbers[:-1])
    begin = template[: list(SLOT.finditer(template))[-1].start()]
    text = SLOT.sub(lambda _: next(words), begin).rstrip(" ")
    named = x if x in places[:-1] else None
    return Prompt(text, family, named, numbers[-1], concept.offset(x, numbers[-1]))


def _place(slot: str, x: int, n: int, template: str) -> int | None:
    """Where a slot points, before it is counted round; None for the offset itself."""
    if slot == "n":
        return None
    term = TERM.fullmatch(slot.replace(" ", ""))
    if term is None or (term[1] and not (term[2] or term[3])):
        raise SteerlabError(
            f"no slot {{{slot}}} in {template!r}; slots are {{x}}, {{x+1}}, {{n}}, {{x+n}}, {{x+2n}}"
        )
    if not term[1]:
        return x
    step = int(term[2] or 1) * (n if term[3] else 1)
    return x + step if term[1] == "+" else x - step
