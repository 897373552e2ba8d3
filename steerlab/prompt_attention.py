"""Where a denoiser looks for each token of the prompt: cross-attention over the image, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from steerlab.errors import SteerlabError, listing
from steerlab.families.token_maps import pieces_of
from steerlab.grids import at_count
from steerlab.model import Model
from steerlab.scope import Scope
from steerlab.spoken import tokens_of_word
from steerlab.tokens import TokenMap


@dataclass(frozen=True, eq=False)
class PromptMaps:
    """Attention from the places of the image to the tokens of the prompt.

    Attributes
    ----------
    maps : Tensor
        ``[image, token, row, column]``: mean over blocks, heads and steps; at a place they sum to 1.
    pieces : list of list of str
        The tokens of each image's prompt, padding included.
    images : list
        The pictures that were made.
    """

    maps: torch.Tensor
    pieces: list[list[str]]
    images: list[Any]

    def of(self, word: str) -> torch.Tensor:
        """The map of a word, summed over its tokens, ``[image, row, column]``."""
        found = [torch.tensor(tokens_of_word(pieces, word, len(pieces))) for pieces in self.pieces]
        for pieces, on in zip(self.pieces, found, strict=True):
            if not on.any():
                raise SteerlabError(f"the prompt has no word {word!r} (its tokens: {listing(pieces, 20)})")
        return torch.stack([own[on].sum(0) for own, on in zip(self.maps, found, strict=True)])


class Running(NamedTuple):
    """A mean over the fires of one site: their sum and their number."""

    total: torch.Tensor
    count: int


def add_pattern(so_far: Running | None, pattern: torch.Tensor) -> Running:
    """Add one ``[image, head, query, key]`` to the running mean over heads and fires."""
    mean = pattern.float().mean(1)
    return Running(mean, 1) if so_far is None else Running(so_far.total + mean, so_far.count + 1)


def as_maps(means: Sequence[torch.Tensor], tokens: TokenMap) -> torch.Tensor:
    """Means ``[image, query, key]`` of sites with different grids, averaged at the finest of them.

    Parameters
    ----------
    means : sequence of Tensor
        One a site.
    tokens : TokenMap
        The places of the denoiser's input.

    Returns
    -------
    Tensor
        ``[image, key, row, column]``.
    """
    grids = [at_count(tokens, mean.shape[1]) for mean in means]
    if any(grid is None for grid in grids):
        raise SteerlabError("the queries of a cross-attention do not lie on the grid of the image")
    finest = max((grid.patch_grid()[-2:] for grid in grids), key=lambda grid: grid[0] * grid[1])
    total = torch.zeros(())
    for mean, grid in zip(means, grids, strict=True):
        laid = mean.transpose(1, 2).unflatten(2, grid.patch_grid()[-2:])
        total = total + torch.nn.functional.interpolate(laid, size=finest, mode="nearest")
    return total / len(means)


def prompt_maps(
    model: Model, prompt: str | Sequence[str], *, at: str = "**.cross.pattern", **options: Any
) -> PromptMaps:
    """Draw pictures and keep where each token of the prompt is looked at, on the conditional branch.

    Parameters
    ----------
    model : Model
        A held pipeline.
    prompt : str or list of str
        What to draw.
    at : str
        The cross-attentions to average.
    **options
        As for `Model.generate`: ``seed=``, ``steps=``, ``guidance=``, ``edit=``; ``during=Scope(steps=...)``
        restricts the average to some steps.
    """
    during = replace(options.pop("during", None) or Scope(), branch="cond")
    with model.read(at, during=during, reduce=add_pattern) as reading:
        made = model.generate(prompt, **{**options, "batch": 10**6})
    sites = model.sites(at)
    means = [mean.total / mean.count for site in sites for mean in reading.calls(site)]
    tokenizer = model.module.tokenizer
    length = means[0].shape[-1]
    ids = tokenizer(made.prompts, padding="max_length", max_length=length, truncation=True).input_ids
    spelled = pieces_of(tokenizer)
    maps = as_maps(means, reading.tokens(sites[0].place.partition(".")[0]))
    return PromptMaps(maps, [spelled(row) for row in ids], made.images)
