"""Denoising steps: by number, by share of the run, by noise level; and weights that change over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from steerlab.choices import as_indices
from steerlab.errors import SteerlabError

StepChoice = int | slice | range | Sequence[int] | str
UNITS = ("fraction", "sigma", "timestep")


@dataclass(frozen=True)
class Step:
    """One denoising step of a run.

    Parameters
    ----------
    index, count : int
        Which of the steps that this run takes, from 0, and how many it takes.
    timestep : float
        The scheduler's time that the denoiser is told.
    sigma : float
        Standard deviation of the noise beside the image's, ``sqrt((1 - a) / a)`` where the scheduler knows
        only the share ``a`` of the signal.
    """

    index: int
    count: int
    timestep: float
    sigma: float

    @property
    def fraction(self) -> float:
        """Share of the run that lies behind, 0 at the first step and 1 at the last."""
        return self.index / max(1, self.count - 1)


@dataclass(frozen=True)
class Ramp:
    """A weight that runs in a straight line from one value to another over the chosen steps.

    Parameters
    ----------
    first, last : float
        Weights in [0, 1] at the first and at the last of the steps that the scope chooses.
    """

    first: float = 0.0
    last: float = 1.0

    def __post_init__(self) -> None:
        for weight in (self.first, self.last):
            if not isinstance(weight, Real) or not 0 <= weight <= 1:
                raise SteerlabError(f"{self!r}: the weights of a ramp are numbers in [0, 1]")

    def at(self, place: int, count: int) -> float:
        """The weight at one of `count` steps."""
        return self.first + (self.last - self.first) * place / max(1, count - 1)


Strength = float | Ramp | Sequence[float]


def checked_strength(strength: Strength) -> Strength:
    """Refuse what is neither a weight, nor a ramp, nor a list of weights."""
    weights = list(strength) if isinstance(strength, (list, tuple)) else [strength]
    if isinstance(strength, Ramp):
        return strength
    if not weights or not all(isinstance(one, Real) and 0 <= one <= 1 for one in weights):
        raise SteerlabError(
            f"strength={strength!r}: a scope's strength is a number in [0, 1], a Ramp or a list of numbers, "
            "one a step"
        )
    return tuple(weights) if isinstance(strength, (list, tuple)) else strength


def strength_at(strength: Strength, choice: StepChoice | None, step: Step) -> float:
    """The weight at a step that `choice` chooses."""
    if isinstance(strength, Real):
        return float(strength)
    if isinstance(strength, Ramp):
        if choice is None:
            return strength.at(step.index, step.count)
        if isinstance(choice, str) and choice.partition(":")[0] in UNITS[1:]:
            raise SteerlabError(
                f"a Ramp over steps={choice!r}: which steps of the run these are is known only as they come; "
                "choose steps by number or fraction"
            )
        numbers = chosen_numbers(choice, step.count)
        return strength.at(numbers.index(step.index), len(numbers))
    if len(strength) != step.count:
        raise SteerlabError(f"strength holds {len(strength)} numbers, this run has {step.count} steps")
    return strength[step.index]


def is_chosen(choice: StepChoice, step: Step) -> bool:
    """Whether a step is among the chosen ones."""
    if isinstance(choice, str) and choice.partition(":")[0] in UNITS[1:]:
        unit, low, high = _bounds(choice)
        return low <= getattr(step, unit) <= high
    return step.index in chosen_numbers(choice, step.count)


def chosen_numbers(choice: StepChoice, count: int) -> list[int]:
    """Numbers of the chosen steps of a run of `count` steps, in order."""
    if isinstance(choice, str) and choice.partition(":")[0] == "fraction":
        _, low, high = _bounds(choice)
        return [i for i in range(count) if low <= i / max(1, count - 1) <= high]
    if isinstance(choice, str):
        choice = _slice(choice)
    if isinstance(choice, slice):
        return list(range(count))[choice]
    numbers = as_indices(choice)
    if numbers is None:
        raise SteerlabError(_UNDERSTOOD.format(choice))
    for number in numbers:
        if not -count <= number < count:
            raise SteerlabError(f"step {number} does not exist: this run has {count} (0 to {count - 1})")
    return sorted({number % count for number in numbers})


def checked_steps(choice: StepChoice | None) -> StepChoice | None:
    """Refuse what cannot name steps, before any run."""
    if isinstance(choice, str) and choice.partition(":")[0] in UNITS:
        _bounds(choice)
    elif isinstance(choice, str):
        _slice(choice)
    elif choice is not None and not isinstance(choice, slice) and as_indices(choice) is None:
        raise SteerlabError(_UNDERSTOOD.format(choice))
    return choice


_UNDERSTOOD = (
    "steps={!r}: give a number, a list, a range or '5:21', or a window such as 'fraction:0.2:0.7', "
    "'sigma:1:7' or 'timestep:200:800' (both ends included)"
)


def _bounds(choice: str) -> tuple[str, float, float]:
    unit, _, window = choice.partition(":")
    try:
        low, high = (float(edge) for edge in window.split(":"))
    except ValueError:
        raise SteerlabError(_UNDERSTOOD.format(choice)) from None
    if low > high:
        raise SteerlabError(f"steps={choice!r} ends before it begins; write {unit}:{high:g}:{low:g}")
    return unit, low, high


def _slice(choice: str) -> slice | list[int]:
    parts = choice.split(":")
    if len(parts) > 2 or not all(part.lstrip("-").isdigit() or not part for part in parts) or not choice:
        raise SteerlabError(_UNDERSTOOD.format(choice))
    numbers = [int(part) if part else None for part in parts]
    return [numbers[0]] if len(numbers) == 1 else slice(*numbers)
