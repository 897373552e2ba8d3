"""What is minimised: squared errors of states, averaged inside groups of tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.utils.checkpoint import checkpoint

from steerlab.surrogates.block import RaptorBlock
from steerlab.surrogates.teacher import Path

Groups = Mapping[str, float] | None


def weighted_error(given: torch.Tensor, wanted: torch.Tensor, path: Path, *, weights: Groups) -> torch.Tensor:
    """Mean square of ``given - wanted`` ``[..., batch, token, dim]`` over tokens, as ``[...]``.

    With weights ``w_cls MSE(cls) + w_reg MSE(registers) + w_patch MSE(patches)``, each averaged inside its
    group, so that the one class token counts as much as all patches; padding is left out.
    """
    squares = (given.float() - wanted.float()).square().mean(-1)  # [..., batch, token]
    real = path.real
    if real is None:
        real = torch.ones(squares.shape[-2:], dtype=torch.bool, device=squares.device)
    shares = _shares(path.groups, weights)
    if not shares:
        return _mean(squares, real)
    parts = [share * _mean(squares[..., g], real[:, g]) for g, share in shares]
    return torch.stack(parts).sum(0)


def _shares(groups: Mapping[str, slice], weights: Groups) -> list[tuple[slice, float]]:
    """The groups that are both there and weighted, their weights brought to the sum of all."""
    here = {name: weights[name] for name in groups if weights.get(name)} if weights else {}
    if not here:
        return []
    total = sum(weights.values()) / sum(here.values())
    return [(groups[name], share * total) for name, share in here.items()]


def _mean(squares: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    return (squares * real).sum((-2, -1)) / real.sum().clamp_min(1)


def forced(block: RaptorBlock, path: Path, segment: range, *, start: int) -> torch.Tensor:
    """Teacher forcing: each layer of a segment from the teacher's state before it, all in one pass.

    Returns ``[layer, batch, token, dim]``.
    """
    given = path.states[segment.start - start : segment.stop - start]
    layers = torch.arange(segment.start, segment.stop, device=given.device) + 1
    rows = given.shape[1]
    return block(given.flatten(0, 1), layers.repeat_interleave(rows)).unflatten(0, (-1, rows))


def looped(
    blocks: list[RaptorBlock], path: Path, segments: list[range], *, start: int, again: bool
) -> torch.Tensor:
    """The closed loop over segments from the teacher's state before the first: ``[layer, ...]``.

    With `again`, what is inside a step is computed once more on the way back.
    """
    state, states = path.states[segments[0].start - start], []
    for block, segment in zip(blocks, segments, strict=True):
        for number in segment:
            if again:
                state = checkpoint(block, state, number + 1, use_reentrant=False)
            else:
                state = block(state, number + 1)
            states.append(state)
    return torch.stack(states)


def distance(given: torch.Tensor, path: Path, targets: slice, *, weights: Groups, relative: bool):
    """The mean over layers of `weighted_error`, each divided by its target's mean square if `relative`."""
    wanted = path.states[targets]
    errors = weighted_error(given, wanted, path, weights=weights)
    if relative:
        errors = errors / weighted_error(torch.zeros_like(wanted), wanted, path, weights=weights).clamp_min(
            1e-12
        )
    return errors.mean()
