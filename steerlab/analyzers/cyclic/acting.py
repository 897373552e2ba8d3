"""Edits of the number in an activation, each with the answer that it should bring about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.cyclic.prompts import Sums
from steerlab.analyzers.manifold_steering.reading import Answers
from steerlab.bases import FourierCode, Subspace
from steerlab.edits import Edit, RandomControl, Replace, Rotate, ToNumber
from steerlab.keeping import kept

Maker = Callable[[torch.Tensor], Edit]


@dataclass(frozen=True, eq=False)
class Arm:
    """One kind of edit at several values, and what every prompt should then say.

    Parameters
    ----------
    name : str
        What is done.
    edit : callable
        From values ``[row, 1, number]`` to the edit of as many rows.
    values : Tensor
        ``[row, number]``.
    wanted : Tensor
        The number of the answer, ``[row, prompt]``; -1 where there is none.
    controlled : bool
        Whether random changes of equal length stand beside it.
    """

    name: str
    edit: Maker
    values: torch.Tensor
    wanted: torch.Tensor
    controlled: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an arm did.

    Attributes
    ----------
    success : float
        Share of prompts and values whose likeliest answer is the wanted one, where that is not the answer
        of the unedited prompt.
    stays : float
        The same where it is: what the edit costs by itself.
    ratio : float
        Median ``|change| / |activation|``.
    controls : tuple of float
        `success` of random changes of the same lengths.
    """

    success: float
    stays: float
    ratio: float
    controls: tuple[float, ...] = ()


def arms_of(
    code: FourierCode, sums: Sums, targets: torch.Tensor, turns: Sequence[int], sources: torch.Tensor
) -> list[Arm]:
    """Steering to numbers, with every period left out in turn; turning; and interchange.

    Parameters
    ----------
    code : FourierCode
        The planes.
    sums : Sums
        The prompts.
    targets : Tensor
        Numbers to steer to, ``[row]``.
    turns : sequence of int
        What is added by turning.
    sources : Tensor
        An activation of each target from another prompt, ``[row, dim]``.
    """
    to = sums.answer_to(targets[:, None].expand(-1, len(sums)))
    rows = targets[:, None].double()
    parts = {"steer": code}
    if len(code.periods) > 1:
        rest = {t: [own for own in code.periods if own != t] for t in code.periods}
        parts |= {f"without period {t:.3g}": code.only(own) for t, own in rest.items()}
    arms = [Arm(name, _steering(some, 1.0, True), rows, to, name == "steer") for name, some in parts.items()]
    arms.append(Arm("ten times, in turn", _steering(code, 10.0, False), rows, to))
    for by in turns:
        wanted = sums.answer_to(sums.numbers + by)[None]
        arms.append(Arm(turn_named(by), _turning(code), torch.tensor([[float(by)]]), wanted, True))
    random = Subspace(
        torch.randn(len(code), code.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    for name, basis in (("code", code.subspace), ("random", random), ("all", None)):
        arms.append(Arm(f"interchange: {name}", _replacing(basis), sources, to))
    return arms


def turn_named(by: int) -> str:
    """What turning by a number is called, as a file can be."""
    return f"rotate by {by}" if by > 0 else f"rotate back by {-by}"


def measured(arm: Arm, asked: tuple[Answers, Sums], *, x: torch.Tensor, controls: int, about: str) -> Outcome:
    """Run one arm and its controls.

    Parameters
    ----------
    arm : Arm
        The edits.
    asked : tuple
        What the model says, and the prompts.
    x : Tensor
        Activations of the prompts, ``[prompt, dim]``.
    controls : int
        Random changes, where the arm has them.
    about : str
        What the run is, for the work that is kept.
    """
    answers, sums = asked
    edits = [arm.edit]
    if arm.controlled:
        edits += [_random(arm.edit, seed) for seed in range(controls)]
    base = sums.answers[None].expand(arm.wanted.shape)
    moved = (arm.wanted >= 0) & (arm.wanted != base)
    shares, stays = [], float("nan")
    for number, edit in enumerate(edits):

        def run(edit: Maker = edit) -> torch.Tensor:
            with torch.no_grad():
                return answers.under(edit, arm.values)[..., :-1].argmax(-1)  # of [row, prompt, value + 1]

        said = kept(f"{about} {arm.name} {number}", run)
        shares.append(share_of(said == arm.wanted, moved))
        if not number:
            stays = share_of(said == base, (arm.wanted >= 0) & ~moved)
    whole = x[None].expand(len(arm.values), -1, -1)
    step = (arm.edit(arm.values[:, None])(whole) - whole).norm(dim=-1) / whole.norm(dim=-1)
    return Outcome(shares[0], stays, float(step.median()), tuple(shares[1:]))


def share_of(hits: torch.Tensor, among: torch.Tensor) -> float:
    """Share of the chosen entries that hit; NaN of none."""
    return float(hits[among].double().mean()) if bool(among.any()) else float("nan")


def _steering(code: FourierCode, scale: float, joint: bool) -> Maker:
    return lambda values: ToNumber(code, values[..., 0], scale, joint)


def _turning(code: FourierCode) -> Maker:
    return lambda values: Rotate(code, values[..., 0])


def _replacing(basis: Subspace | None) -> Maker:
    return lambda values: Replace(values, basis)


def _random(edit: Maker, seed: int) -> Maker:
    return lambda values: RandomControl(edit(values), seed)
