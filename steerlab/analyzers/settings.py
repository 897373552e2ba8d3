"""Checks of an analyzer's settings, told in its own words before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from steerlab.errors import SteerlabError


def check_whole(analyzer: object, *names: str, least: int = 1) -> None:
    """Refuse settings that are not whole numbers of at least `least`."""
    for name in names:
        value = getattr(analyzer, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise SteerlabError(f"{_of(analyzer)}: {name}={value!r} is not a whole number of {least} or more")


def check_texts(analyzer: object, *names: str) -> None:
    """Refuse settings that are not lists of one text or more."""
    for name in names:
        value = getattr(analyzer, name)
        some = value if isinstance(value, (list, tuple)) else []
        if not some or not all(isinstance(text, str) and text for text in some):
            raise SteerlabError(f"{_of(analyzer)}: {name}={value!r}; give a list of texts")


def check_doses(analyzer: object, strengths: Sequence[float], budget: float | None) -> None:
    """Refuse strengths without a number other than 0, and budgets that are not above 0."""
    some = strengths if isinstance(strengths, (list, tuple)) else []
    if not all(is_number(one) for one in some) or not any(some):
        raise SteerlabError(f"{_of(analyzer)}: strengths={strengths!r}; give a list of numbers, one not 0")
    if budget is not None and not (is_number(budget) and budget > 0):
        raise SteerlabError(f"{_of(analyzer)}: budget={budget!r} is not a divergence above 0")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _of(analyzer: object) -> str:
    return type(analyzer).__name__
