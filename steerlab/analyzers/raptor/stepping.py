"""One linear map for all steps of a phase, beside a map of its ends and a state that stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from steerlab.analyzers.raptor.reading import summed
from steerlab.analyzers.raptor.replacing import Probe
from steerlab.edits import Replace
from steerlab.keeping import kept
from steerlab.numerics.affine import PairMoments, pair_moments
from steerlab.numerics.dmd import endpoint, fit_modes
from steerlab.report import Table
from steerlab.surrogates.teacher import Path

WAYS = ("linear step", "endpoint map", "identity")
RIDGE = 1e-4


def stepped(
    probe: Probe, parts: Sequence[Any], read: Callable[[Any], Path], *, segments: Sequence[range]
) -> Table:
    """Cosines at the end of each phase and, from there on through the model, at its output.

    Maps are fitted on the first half of the parts and judged on the second; ``K^p`` steps ``p`` times as
    dynamic mode decomposition along depth does (arXiv 2605.07556), where after propagation standing still is
    competitive.
    """
    half = max(1, len(parts) // 2)
    train, test = parts[:half], parts[half:] or parts
    columns = ("phase", "from", "to", "way", "cosine", "cosine of the output", "largest eigenvalue")
    rows: dict[str, list] = {name: [] for name in columns}
    for number, segment in enumerate(segments):
        maps, largest = _fitted(train, read, segment)
        near = _near(test, read, segment, maps=maps)
        far = _far(probe, read, segment, maps=maps)
        for way, cosine, output in zip(WAYS, near, far, strict=True):
            values = (number + 1, segment.start, segment.stop, way, float(cosine), float(output), largest)
            for name, value in zip(columns, values, strict=True):
                rows[name].append(value)
    return {name: values if name == "way" else torch.tensor(values) for name, values in rows.items()}


def _fitted(
    parts: Sequence[Any], read: Callable[[Any], Path], segment: range
) -> tuple[list[torch.Tensor], float]:
    """The three maps ``[dim, dim]`` of row vectors, and the largest eigenvalue of one linear step."""
    shape: list[int] = []

    def of(path: Path) -> torch.Tensor:
        states = path.states[segment.start : segment.stop + 1]
        shape[:] = [states.shape[-1]]
        steps = pair_moments(states[:-1], states[1:])
        ends = pair_moments(states[0], states[-1])
        return torch.cat([t.flatten() for one in (steps, ends) for t in (one.gram, one.cross)])

    total = summed(parts, read, f"steps {segment.start}-{segment.stop}", of=of)
    dim = shape[0] if shape else _dim_of(len(total))
    grams = total.split([(dim + 1) ** 2, (dim + 1) * dim] * 2)
    steps, ends = (
        PairMoments(g.view(dim + 1, dim + 1), c.view(dim + 1, dim), 0.0) for g, c in (grams[:2], grams[2:])
    )
    modes = fit_modes(steps, ridge=RIDGE)
    eye = torch.eye(dim, dtype=torch.float64)
    maps = [modes.power(len(segment)), endpoint(ends, ridge=RIDGE), eye]
    return maps, float(modes.eigenvalues()[0].abs())


def _dim_of(length: int) -> int:
    """The width whose moments have this length, where all were kept by an earlier run."""
    return next(dim for dim in range(1, length) if 2 * (dim + 1) * (2 * dim + 1) == length)


def _near(
    parts: Sequence[Any], read: Callable[[Any], Path], segment: range, *, maps: Sequence[torch.Tensor]
) -> torch.Tensor:
    def of(path: Path) -> torch.Tensor:
        start, end = path.states[segment.start].double(), path.states[segment.stop].double()
        found = [cosine_similarity(start @ one, end, dim=-1).sum() for one in maps]
        return torch.stack([*found, torch.tensor(end[..., 0].numel()).double()])

    sums = summed(parts, read, f"judging {segment.start}-{segment.stop}", of=of)
    return sums[:-1] / sums[-1]


def _far(
    probe: Probe, read: Callable[[Any], Path], segment: range, *, maps: Sequence[torch.Tensor]
) -> torch.Tensor:
    def effects() -> torch.Tensor:
        states = read(probe.inputs).states
        base, found = probe.final(), []
        for one in maps:
            put = Replace((states[segment.start].double() @ one).to(states.dtype))
            with probe.model.edit({f"{probe.at}.{segment.stop - 1}.resid": put}):
                found.append(cosine_similarity(probe.final(), base, dim=-1).mean().double())
        return torch.stack(found)

    return kept(f"propagating {segment.start}-{segment.stop}", effects)
