"""Attention to a few tokens of every head, in one forward and without any pattern."""

from __future__ import annotations

from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.sinks.parts import Part, part_of, parts_of
from steerlab.attending import attend
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.looks import Looks
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenChoice


def sink_scores(
    model: Model, data: Any, keys: TokenChoice = "first", *, at: str = "blocks.*.pattern", batch: int = 8
) -> torch.Tensor:
    """Mean attention of every head to some tokens, ``[input, block, head]``.

    It costs one product of the queries with these keys, where the attention kernel gives its row sums away,
    and no pattern is made. The mean is over the real queries that come after the first of the keys in a
    language model, and over all real ones elsewhere; attention to several keys is added up. That mean over
    later queries is our own; arXiv 2410.10781 counts the key's own row as well.

    Parameters
    ----------
    model : Model
        The model.
    data : object
        Inputs as for `Model.capture`: a list of texts or images, a tensor, or tensors by name.
    keys : optional
        Tokens, as in a scope: ``"first"``, ``"cls"``, ``"registers"``.
    at : str
        Patterns of one tower, wildcards included.
    batch : int
        Inputs of a forward.
    """
    patterns = model.sites(at)
    parts = tqdm(list(parts_of(data, batch)), desc="sink scores", disable=None, leave=False)
    found = [
        kept(f"sink scores {keys} {at} {i}", lambda one=one: _scored(model, one, keys, patterns))
        for i, one in enumerate(parts)
    ]
    return torch.cat(found)


def _scored(model: Model, batch: Any, keys: TokenChoice, patterns: list[Site]) -> torch.Tensor:
    part = part_of(model, batch, patterns[0])
    chosen = part.tokens.select(keys).cpu().expand(len(part.real), -1)
    if not bool(chosen.any(-1).all()):
        raise SteerlabError(f"keys={keys!r} names no token of some inputs")
    found = {}

    def see(site: Site, looks: Looks) -> None:
        found[site] = _mean_to(looks, part, chosen.to(looks.q.device))

    attend(model, part.inputs, patterns, see)
    return torch.stack([found[site] for site in patterns], 1).float().cpu()


def _mean_to(looks: Looks, part: Part, chosen: torch.Tensor) -> torch.Tensor:
    """``[batch, head]`` of one block."""
    columns = chosen.any(0).nonzero()[:, 0]
    paid = looks.to(columns)
    if len(chosen) > 1:
        paid = paid * chosen[:, None, None, columns].to(paid)
    first, real = chosen.long().argmax(-1, keepdim=True), part.real.to(paid.device)
    place = torch.arange(looks.queries, device=paid.device)
    # a causal query looks at no later key: the key itself tells, without a row of the pattern
    earlier = real & (place < first)
    causal = part.tokens.position is not None and not bool((paid.sum((1, 3)) * earlier).any())
    counts = (real & (place > first)) if causal else real
    weight = counts.to(paid) / counts.sum(-1, keepdim=True).clamp_min(1)
    return (paid.sum(-1) * weight[:, None]).sum(-1)
