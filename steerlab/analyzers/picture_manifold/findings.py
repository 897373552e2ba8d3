"""What the pictures along the ways prove: order, what is kept, and how natural they are beside the line's."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.analyzers.picture_manifold.fitting import Fitted
from steerlab.analyzers.picture_manifold.measuring import Reader
from steerlab.analyzers.picture_manifold.walking import Walk, between, commanded, energies
from steerlab.numerics.significance import paired_t_test
from steerlab.report import Evidence

BESIDE = "controls: the straight line, then random steps as long"


def found(
    walks: Sequence[Walk], fitted: Fitted, reader: Reader, ends: tuple[str, str]
) -> tuple[Evidence, ...]:
    """Order, correlation and what is kept, beside the line and random steps; then curve against line.

    The floor of the first two is what pictures score that are not steered at all: one value whatever is
    asked. Differences are paired by picture, of means over its waypoints or of the least of them: a line
    may stay with the first value for half of its way, where the checker is sure. Their floor is the standard
    error, and p is that of Student's paired test.
    """
    curve, line = walks[:2]
    expected = between(fitted, ends)
    asked = commanded(fitted, ends, len(curve.seen))
    way = float(fitted.manifold.shift(*ends)[0])
    question, keeps = curve.questions
    told = ", ".join(reader.values[i] for i in expected)

    def of_pictures(value: str, measure: list[float], floor: float) -> Evidence:
        return Evidence(value, "intervened", measure[0], tuple(measure[1:]), floor, "of the pictures")

    read = {walk.name: reader.read(walk.rows("seen")) for walk in walks}
    passing = [float(reader.passes(walk.rows("seen"), expected).double().mean()) for walk in walks]
    rising = [float(reader.monotone(one, way).double().mean()) for one in read.values()]
    follow = [reader.follow(asked.expand(one.shape).flatten(), one.flatten()) for one in read.values()]
    kept = [float(walk.rows("same").mean()) for walk in walks]
    surer = curve.rows("sure") - line.rows("sure")
    least = curve.rows("sure").amin(1) - line.rows("sure").amin(1)
    brighter = curve.rows("colourful") - line.rows("colourful")
    nearer = energies(line, fitted).sum(1) - energies(curve, fitted).sum(1)
    return (
        of_pictures(f"along the curve the {question} is {told} in turn ({BESIDE})", passing, 0.0),
        of_pictures(f"along the curve the {question} never steps back ({BESIDE})", rising, 0.0),
        Evidence(
            f"the {question} that is seen follows the one asked for ({BESIDE})",
            "intervened",
            follow[0],
            tuple(follow[1:]),
            0.0,
            "correlation" if reader.period is None else "circular correlation",
        ),
        Evidence(
            f"the {keeps} stays ({BESIDE})", "intervened", kept[0], tuple(kept[1:]), None, "of the pictures"
        ),
        _against(
            f"the checker is surer of {question} and {keeps} on the curve than on the line", surer.mean(1)
        ),
        _against("where it is least sure, the checker is surer on the curve than on the line", least),
        _against("objects are more colourful on the curve than on the line", brighter.mean(1)),
        _against("what is seen on the line is farther from the behaviour manifold, in energy", nearer),
    )


def _against(claim: str, differences: torch.Tensor) -> Evidence:
    """A mean difference ``[picture]`` beside its standard error, with the chance of one as large."""
    if len(differences) < 2:
        return Evidence(claim, "intervened", float(differences.mean()))
    chance = float(paired_t_test(differences[:, None])[1])
    error = float(differences.std()) / len(differences) ** 0.5
    return Evidence(f"{claim} (paired, p = {chance:.2g})", "intervened", float(differences.mean()), (), error)
