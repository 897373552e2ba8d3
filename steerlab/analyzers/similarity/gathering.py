"""Representations gathered batch by batch: sites of one or two models, and codes of dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.batches import first_rows, in_batches
from steerlab.atoms.stream import reads_of, site_of
from steerlab.bases import Dictionary
from steerlab.edits.base import wide
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.similarity import Moments
from steerlab.sites import Site
from steerlab.tokens import TokenChoice, TokenMap

SAMPLE = 256  # rows kept as they are, for distances between them and for the null


@dataclass(frozen=True, eq=False)
class Source:
    """One representation: a site of a model, perhaps in the coordinates of some atoms.

    Parameters
    ----------
    name : str
        What it is called.
    model : Model
        Whose.
    site : Site
        What is read.
    dictionary : Dictionary, optional
        Whose codes are taken.
    atoms : Tensor, optional
        Which of them.
    """

    name: str
    model: Model
    site: Site
    dictionary: Dictionary | None = None
    atoms: torch.Tensor | None = None

    def rows_of(self, acts: Activations, tokens: TokenChoice | None, pooled: bool) -> torch.Tensor:
        """``[input, token or 1, width]`` in float64; NaN at tokens that were not chosen."""
        x = acts[self.site]
        if self.dictionary is not None:
            x = self.dictionary.encode(wide(self.dictionary.flattened(x)))
            x = x if self.atoms is None else x[..., self.atoms.to(x.device)]
        if "token" not in acts.axes[self.site]:
            return x.double().flatten(1)[:, None].cpu()
        x = x.double().flatten(2).cpu()
        on = chosen_of(acts.map_of(self.site), tokens).cpu().expand(len(x), -1)[..., None]
        if pooled:
            return torch.where(on, x, 0.0).sum(1, keepdim=True) / on.sum(1, keepdim=True).clamp_min(1)
        return torch.where(on, x, torch.nan)


@dataclass(frozen=True, eq=False)
class Gathered:
    """What is known of the representations after one pass.

    Attributes
    ----------
    fitted, held : Moments
        Of every second input, and of the others.
    sample : tuple of Tensor
        The first rows of each, ``[at most 256, width]``.
    centre : tuple of Tensor
        What was subtracted from each, ``[width]``.
    """

    fitted: Moments
    held: Moments
    sample: tuple[torch.Tensor, ...]
    centre: tuple[torch.Tensor, ...]

    @property
    def whole(self) -> Moments:
        """Of all inputs."""
        return self.fitted.merge(self.held)

    def mean(self, part: int) -> torch.Tensor:
        """Mean of a representation over all rows, ``[width]``."""
        whole = self.whole
        return whole.sums[whole.span(part)] / whole.count + self.centre[part]


def chosen_of(tokens: TokenMap, choice: TokenChoice | None) -> torch.Tensor:
    """The asked tokens, by default the patches, or in texts all but the first, ``[batch or 1, token]``."""
    if choice is not None:
        return tokens.select(choice)
    if "patches" in tokens.groups:
        return tokens.select("patches")
    return tokens.select("1:" if tokens.ids is not None else "all")


def sources_of(
    model: Model, at: str | Sequence[str], prefix: str, dictionaries: Sequence[Dictionary] = ()
) -> list[Source]:
    """Every site, and the site of every dictionary in its coordinates."""
    found = [Source(f"{prefix}{site}", model, site) for site in model.sites(at)]
    for dictionary in dictionaries:
        site = site_of(model, dictionary)
        found.append(Source(f"{prefix}codes at {site}", model, reads_of(model, dictionary, site), dictionary))
    return found


def with_atoms(source: Source, data: Any, tokens: TokenChoice | None, most: int) -> Source:
    """A source of codes narrowed to the atoms of most energy on some inputs; others as they are."""
    if source.dictionary is None:
        return source
    rows = source.rows_of(source.model.capture(data, [source.site]), tokens, False)
    energy = rows.nan_to_num().square().sum((0, 1))
    return replace(source, atoms=energy.topk(min(most, len(energy))).indices.sort().values)


def gather(
    sources: Sequence[Source], data: Any, *, tokens: TokenChoice | None, pooled: bool, batch: int
) -> Gathered:
    """One pass over the inputs; what is held does not grow with them."""
    fitted = held = None
    centre: list[torch.Tensor] = []
    sample: list[torch.Tensor] = []
    names = [source.name for source in sources]
    widths = [_width(source, first_rows(data, 1)) for source in sources]
    for number, part in enumerate(in_batches(data, batch)):
        what = f"Similarity {number} {names} {tokens} {pooled}"
        together = kept(what, lambda part=part: _read(sources, part, tokens, pooled))
        real = ~together.isnan().any(2)
        of = torch.arange(len(together))[:, None].expand(real.shape)[real]
        rows = together[real].split(widths, 1)
        if not centre:  # a large common mean would cost digits in the moments
            centre = [one.mean(0) for one in rows]
        rows = [one - c for one, c in zip(rows, centre, strict=True)]
        if not sample or len(sample[0]) < SAMPLE:
            sample = [
                torch.cat(both)[:SAMPLE] for both in zip(sample or [r[:0] for r in rows], rows, strict=True)
            ]
        halves = [Moments.of([one[of % 2 == half] for one in rows]) for half in (0, 1)]
        fitted = halves[0] if fitted is None else fitted.merge(halves[0])
        held = halves[1] if held is None else held.merge(halves[1])
    if min(fitted.count, held.count) < 4:
        count = fitted.count + held.count
        raise SteerlabError(f"Similarity: {count} rows are too few to compare; give 8 inputs or more")
    return Gathered(fitted, held, tuple(sample), tuple(centre))


def _read(sources: Sequence[Source], batch: Any, tokens: TokenChoice | None, pooled: bool) -> torch.Tensor:
    """All sources side by side for one batch, ``[input, token or 1, dim]``."""
    rows: dict[int, torch.Tensor] = {}
    for model in dict.fromkeys(source.model for source in sources):
        mine = [source for source in sources if source.model is model]
        acts = model.capture(batch, list(dict.fromkeys(source.site for source in mine)))
        rows |= {id(source): source.rows_of(acts, tokens, pooled) for source in mine}
    shapes = sorted({tuple(one.shape[:2]) for one in rows.values()})
    if len(shapes) > 1:
        raise SteerlabError(
            f"the representations differ in inputs and tokens, {shapes}: compare their means, pooled=True"
        )
    return torch.cat([rows[id(source)] for source in sources], 2)


def _width(source: Source, one: Any) -> int:
    """How many coordinates a source has, told by one input."""
    if source.atoms is not None:
        return len(source.atoms)
    if source.dictionary is not None:
        return len(source.dictionary)
    acts = source.model.capture(one, [source.site])
    tokens = "token" in acts.axes[source.site]
    return acts[source.site][0, 0].numel() if tokens else acts[source.site][0].numel()
