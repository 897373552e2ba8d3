"""Which block follows a known quantity, beside single directions, random subspaces and shuffled values."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.analyzers.blocks.factors import Factor
from steerlab.analyzers.blocks.sampling import Sample
from steerlab.bases import Dictionary
from steerlab.numerics.tuning import fit_readout, powers
from steerlab.report import Evidence

_DIRECTIONS = 64  # random directions inside the best block that are tried beside it


@dataclass(frozen=True, eq=False)
class Tuned:
    """How well coordinates follow a factor, on inputs that nothing was fitted or chosen on.

    Parameters
    ----------
    best : int
        The block whose code explains most of the factor on the inputs that were fitted on.
    fitted, explained, score, fires : Tensor
        Of every block, ``[block]``: the share explained where fitted and held out, the score held out, and
        on how many of the entries with a known value it fires.
    others : dict
        Name of another reader -> held-out score and share explained.
    """

    best: int
    fitted: torch.Tensor
    explained: torch.Tensor
    score: torch.Tensor
    fires: torch.Tensor
    others: dict[str, tuple[float, float]]


def tuned(
    featurizer: Dictionary, directions: Dictionary, size: int, sample: Sample, *, factor: Factor, seed: int
) -> Tuned:
    """Read the factor off every block's code by a plane, and off every direction's by a cubic.

    The block is chosen where the reading is fitted, so that its held-out score is that of one hypothesis.
    Directions are chosen the same way among all atoms of a dictionary of directions with as many active
    coordinates, and among lines inside the best block, for which cosine and sine get a cubic each: they are
    given more than the plane. Random subspaces are of the size of a block, as many as there are blocks, and
    chosen as the block is, so that choosing among many alone cannot make a finding (our own definitions).
    """
    fitting, held_out = (half.known() for half in sample.halves())
    values = (fitting.values, held_out.values)
    blocks = [
        featurizer.encode(part.rows).unflatten(-1, (-1, size)).movedim(1, 0) for part in (fitting, held_out)
    ]
    read = fit_readout(blocks[0], values[0], factor.period)
    fitted = read.explained(blocks[0], values[0])
    best = int(fitted.argmax())
    generator = torch.Generator().manual_seed(seed)
    others = {}
    lines = torch.nn.functional.normalize(torch.randn(_DIRECTIONS, size, generator=generator), dim=-1)
    inside = [one[best] @ lines.T for one in blocks]
    others["a line in that block"] = _best_line(inside, values, factor)
    singles = [directions.encode(part.rows) for part in (fitting, held_out)]
    others["best single direction"] = _best_line(singles, values, factor)
    drawn = torch.randn(len(blocks[0]), fitting.rows.shape[1], size, generator=generator)
    frames = torch.linalg.qr(drawn)[0]
    others["random subspace"] = _plane([p.rows @ frames[0] for p in (fitting, held_out)], values, factor)
    others["best random subspace"] = _best([p.rows @ frames for p in (fitting, held_out)], values, factor)
    leading = torch.linalg.svd(fitting.rows - fitting.rows.mean(0), full_matrices=False)[2][:size].T
    others["leading components"] = _plane([p.rows @ leading for p in (fitting, held_out)], values, factor)
    others["whole activation"] = _plane([p.rows for p in (fitting, held_out)], values, factor)
    shuffled = tuple(v[torch.randperm(len(v), generator=generator)] for v in values)
    others["shuffled values"] = _plane([one[best] for one in blocks], shuffled, factor)
    fires = torch.cat([(one != 0).any(-1).double() for one in blocks], 1).mean(1)
    return Tuned(
        best, fitted, read.explained(blocks[1], values[1]), read.score(blocks[1], values[1]), fires, others
    )


def direction_of(directions: Dictionary, sample: Sample, factor: Factor) -> int:
    """The atom whose code explains most of the factor, where readings are fitted."""
    fitting = sample.halves()[0].known()
    codes = directions.encode(fitting.rows)
    cubic = powers((codes / codes.abs().amax(0).clamp_min(1e-12)).T)
    return int(fit_readout(cubic, fitting.values, factor.period).explained(cubic, fitting.values).argmax())


def _plane(
    features: list[torch.Tensor], values: tuple[torch.Tensor, ...], factor: Factor
) -> tuple[float, float]:
    """Held-out score and share of a linear reading of ``[row, feature]``."""
    read = fit_readout(features[0], values[0], factor.period)
    return float(read.score(features[1], values[1])), float(read.explained(features[1], values[1]))


def _best_line(
    lines: list[torch.Tensor], values: tuple[torch.Tensor, ...], factor: Factor
) -> tuple[float, float]:
    """Held-out score and share of the coordinate ``[row, line]`` that explains most where fitted."""
    scale = lines[0].abs().amax(0).clamp_min(1e-12)
    return _best([powers((one / scale).T) for one in lines], values, factor)


def _best(
    features: list[torch.Tensor], values: tuple[torch.Tensor, ...], factor: Factor
) -> tuple[float, float]:
    """Held-out score and share of those of ``[reader, row, feature]`` that explain most where fitted."""
    read = fit_readout(features[0], values[0], factor.period)
    best = int(read.explained(features[0], values[0]).argmax())
    return (
        float(read.score(features[1], values[1])[best]),
        float(read.explained(features[1], values[1])[best]),
    )


def evidence_of_following(found: Tuned, factor: Factor) -> Evidence:
    """The best block's held-out score beside single directions, random subspaces and shuffled values."""
    names = ("best single direction", "a line in that block", "best random subspace", "shuffled values")
    return Evidence(
        f"block {found.best} follows {factor.name} on held-out inputs (controls: {', '.join(names)})",
        "observed",
        float(found.score[found.best]),
        tuple(found.others[name][0] for name in names),
        unit=factor.score_name,
    )
