"""How well a surrogate follows its teacher in the closed loop, beside a state that stands still."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity

from steerlab.numerics.determination import RunningR2, r2_of_authors
from steerlab.surrogates.surrogate import Surrogate
from steerlab.surrogates.teacher import Path


@dataclass(frozen=True, eq=False)
class Scores:
    """Closed-loop scores, an entry a block of the span.

    Attributes
    ----------
    cosine : dict
        Mean cosine with the teacher's state, by group of tokens, ``[block]``.
    still : dict
        The same for the state before the span, which costs nothing to predict, ``[block]``.
    r2 : Tensor
        Standard R2 over all tokens: the target's variance around its mean a feature, ``[block]``.
    r2_authors : Tensor
        The form of the authors' code: the prediction's variance around one mean, averaged over batches.
    """

    cosine: dict[str, torch.Tensor]
    still: dict[str, torch.Tensor]
    r2: torch.Tensor
    r2_authors: torch.Tensor


@torch.no_grad()
def closed_loop(surrogate: Surrogate, paths: Iterable[Path]) -> Scores:
    """Run a surrogate from the teacher's first state of every batch, feeding it what it gave itself.

    Parameters
    ----------
    surrogate : Surrogate
        What is scored.
    paths : iterable of Path
        States of the teacher along the surrogate's span, batch by batch.
    """
    blocks = surrogate.span[1] - surrogate.span[0]
    running = [RunningR2() for _ in range(blocks)]
    theirs, count = torch.zeros(blocks, dtype=torch.float64), 0
    sums: dict[str, torch.Tensor] = {}
    for path in paths:
        made = torch.stack(surrogate.run(path.states[0].float()))
        wanted, first = path.states[1:].float(), path.states[:1].float()
        rows = made.shape[1]
        count += rows
        for name, group in path.groups.items():
            pair = [
                cosine_similarity(one, wanted, dim=-1)[..., group].mean(-1).sum(-1) for one in (made, first)
            ]
            sums[name] = sums.get(name, 0) + torch.stack(pair).double()
        for number, one in enumerate(running):
            one.add(made[number], wanted[number])
        theirs += rows * torch.tensor([r2_of_authors(a, b) for a, b in zip(made, wanted, strict=True)])
    means = {name: total / count for name, total in sums.items()}
    return Scores(
        {name: both[0] for name, both in means.items()},
        {name: both[1] for name, both in means.items()},
        torch.tensor([one.value for one in running]),
        theirs / count,
    )
