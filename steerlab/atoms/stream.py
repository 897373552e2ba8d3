"""Activations at a dictionary's site, batch by batch, with the entries that were asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steerlab.activations import Activations
from steerlab.bases import Dictionary
from steerlab.edits.base import wide
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.scope import Scope
from steerlab.sites import Site
from steerlab.tokens import TokenChoice, TokenMap


@dataclass(frozen=True, eq=False)
class Heard:
    """One batch at a dictionary's site.

    Parameters
    ----------
    batch : object
        What the model was given.
    source : Tensor
        What codes are computed from, ``[(step,) row, (token,) dim]``.
    target : Tensor
        What the dictionary explains; the source itself, except for transcoders.
    kept : Tensor
        Boolean: the entries that were asked for and are not padding, the shape of `source` without its
        last axis.
    tokens : TokenMap, optional
        What the entries along the token axis are, where the inputs say it.
    axes : tuple of str
        Names of the axes of the site.
    """

    batch: Any
    source: torch.Tensor
    target: torch.Tensor
    kept: torch.Tensor
    tokens: TokenMap | None
    axes: tuple[str, ...]

    def entries(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Source and target of the kept entries, ``[entry, dim]`` each."""
        return self.source[self.kept], self.target[self.kept]


def at_site(dictionary: Dictionary, at: str | Site) -> Dictionary:
    """The same dictionary, said to explain another site.

    Parameters
    ----------
    dictionary : Dictionary
        Whose file names no site, or names it in another model's words.
    at : site
        Where its edits and its measures are to be.
    """
    return dataclasses.replace(
        dictionary, facts=dataclasses.replace(dictionary.facts, site=str(Site.parse(at)))
    )


def site_of(model: Model, dictionary: Dictionary, at: str | Site | None = None) -> Site:
    """Where a dictionary is asked about: `at`, or what its file says; checked against the model."""
    if at is None and dictionary.site is None:
        said = f"its file says {dictionary.facts.site!r}" if dictionary.facts.site else "its file is silent"
        raise SteerlabError(
            f"{dictionary!r}: at which site? {said}; write at='blocks.3.resid', or name it once with "
            "sl.atoms.at_site(dictionary, 'blocks.3.resid')"
        )
    return model.site(str(dictionary.site if at is None else at))


def reads_of(model: Model, dictionary: Dictionary, site: Site) -> Site:
    """Where the codes of a dictionary that explains `site` are computed from.

    A transcoder that is asked about another block reads the same stream of that block.
    """
    if not dictionary.is_transcoder:
        return site
    if dictionary.facts.reads is None:
        raise SteerlabError(
            f"{dictionary!r} does not read where it writes, and its file names no facts.reads"
        )
    reads = Site.parse(dictionary.facts.reads)
    elsewhere = dictionary.site is not None and dictionary.site != site
    return model.site(str(Site(site.place, reads.stream) if elsewhere else reads))


def listened(
    model: Model,
    dictionary: Dictionary,
    batches: Iterable[Any],
    *,
    site: Site,
    tokens: TokenChoice | None = None,
) -> Iterator[Heard]:
    """Read batch after batch at a dictionary's site; only one of them is held at a time.

    Parameters
    ----------
    model : Model
        What is read.
    dictionary : Dictionary
        Whose site.
    batches : iterable
        Inputs of the model, as for `Model.capture`; one text or one tensor counts as one batch.
    site : Site
        See `site_of`.
    tokens : optional
        Tokens to keep, as in a scope; `usual_tokens` by default.
    """
    reads = reads_of(model, dictionary, site)
    for batch, acts in captured(model, batches, dict.fromkeys((site, reads))):
        yield heard(batch, acts, dictionary, (site, reads), tokens)


def captured(
    model: Model, batches: Iterable[Any], sites: Iterable[Site]
) -> Iterator[tuple[Any, Activations]]:
    """Each batch with what some sites showed, under a progress bar."""
    from tqdm.auto import tqdm

    at = [str(site) for site in sites]
    none = True
    for batch in tqdm(as_batches(batches), desc="reading", disable=None, leave=False):
        none = False
        yield batch, _read(model, batch, at)
    if none:
        raise SteerlabError("no inputs: the batches are empty")


def _read(model: Model, batch: Any, at: list[str]) -> Activations:
    """What sites show for a batch; of a pipeline every step on the conditional branch, a row an image."""
    if isinstance(model.module, nn.Module):
        return model.capture(batch, at)
    with model.read(at, every=True, during=Scope(branch="cond")) as reading, torch.no_grad():
        model.module(**prepared(model, batch))
    return reading.activations()


def heard(
    batch: Any,
    acts: Activations,
    dictionary: Dictionary,
    sites: tuple[Site, Site],
    tokens: TokenChoice | None,
) -> Heard:
    """One batch from its activations at the site that is explained and at the one that is read."""
    site, reads = sites
    # codes in half precision would be others than those that edits, which compute in float32, change
    source = wide(dictionary.flattened(acts[reads]))
    target = source if reads == site else wide(acts[site])
    if target.shape[-1] != dictionary.dim:  # concatenated heads lie in one axis for the dictionary
        target = target.flatten(-2)
    axes = acts.axes[site]
    described = acts.maps.get(site)
    known = acts.map_of(site) if described is not None else None
    kept = torch.ones(source.shape[:-1], dtype=torch.bool, device=source.device)
    if "token" in axes:
        token_map = known or TokenMap(source.shape[axes.index("token")])
        if token_map.count == source.shape[axes.index("token")]:
            choice = usual_tokens(token_map) if tokens is None else tokens
            chosen = token_map.select("all" if choice is None else choice).to(kept.device)
            folded = kept.shape[-2] // chosen.shape[0] if chosen.shape[0] > 1 else 1
            kept = kept & chosen.repeat_interleave(folded, 0)
        elif tokens is not None:
            raise SteerlabError(f"{site}: tokens={tokens!r}: the tokens of this site are not described")
    elif tokens is not None:
        raise SteerlabError(f"{site} has no token axis to choose from, only {', '.join(axes)}")
    return Heard(batch, source, target, kept, known, axes)


def usual_tokens(tokens: TokenMap | None) -> TokenChoice | None:
    """Which tokens are looked at unless something else is asked for: in texts all but the first.

    The stream at the first token of a text, with or without a token that marks the beginning, is many times
    as long as anywhere else in most language models, so that it alone would decide every mean square.
    Padding is never looked at. None stands for all tokens.
    """
    return "1:" if tokens is not None and tokens.ids is not None else None


def as_batches(batches: Iterable[Any]) -> Iterable[Any]:
    """Batches as they are; one text, tensor or mapping becomes a list of itself."""
    return [batches] if isinstance(batches, (str, torch.Tensor, Mapping)) else batches


def twice(batches: Iterable[Any], what: str) -> Iterable[Any]:
    """The batches, refused if they can be gone over only once."""
    batches = as_batches(batches)
    if iter(batches) is batches:
        raise SteerlabError(
            f"{what} goes over the inputs twice, and {type(batches).__name__} gives them once only; "
            "pass a list, or an object whose __iter__ begins anew"
        )
    return batches


def prepared(model: Model, batch: Any) -> dict[str, Any]:
    """Keyword arguments of the model for one batch."""
    return model.family.prepare(batch, model.processor, model.module)


class Reservoir:
    """A uniform sample of rows from a stream whose length is not known; memory does not grow.

    Parameters
    ----------
    size : int
        Rows to keep at most.
    seed : int
        Of the draw.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._keys = torch.empty(0)
        self._rows: torch.Tensor | None = None

    def add(self, rows: torch.Tensor) -> None:
        """Offer rows ``[n, dim]``: each gets a random key, and the smallest keys stay."""
        keys = torch.cat([self._keys, torch.rand(len(rows), generator=self._generator)])
        stay = keys.argsort(stable=True)[: self.size].sort().values
        both = rows if self._rows is None else torch.cat([self._rows, rows.to(self._rows)])
        self._keys, self._rows = keys[stay], both[stay.to(both.device)].clone()

    @property
    def rows(self) -> torch.Tensor:
        """The sample, ``[at most size, dim]``."""
        if self._rows is None:
            raise SteerlabError("no entries were chosen from the inputs")
        return self._rows
