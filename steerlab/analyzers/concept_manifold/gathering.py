"""Activations of labelled inputs at one site, a bounded number of them, and a dictionary for the site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.batches import in_batches
from steerlab.atoms.stream import usual_tokens
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit_dictionary
from steerlab.keeping import keeper, kept
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenChoice

BLANK = "{}"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs with the number of each one's value.

    Parameters
    ----------
    inputs : object
        As the model takes them, one row an input.
    labels : Tensor
        ``[input]``, from 0 on with none left out.
    names : tuple of str
        What the values are called.
    """

    inputs: Any
    labels: torch.Tensor
    names: tuple[str, ...]


def labelled(data: Any, values: Sequence[str] | None, labels: Sequence[Any] | None) -> Labelled:
    """Texts with ``{}`` filled with every value, or inputs with one label each; values keep their order."""
    if values is not None:
        if isinstance(data, str) or not all(isinstance(text, str) and BLANK in text for text in data):
            raise SteerlabError("ConceptManifold: values= fill the {} of texts, and some input has none")
        texts = [text.replace(BLANK, value) for value in values for text in data]
        numbers = torch.arange(len(values)).repeat_interleave(len(data))
        return Labelled(texts, numbers, tuple(values))
    count = len(data) if isinstance(data, (torch.Tensor, Sequence)) else -1
    if labels is None or count != len(labels):
        given = "none" if labels is None else len(labels)
        raise SteerlabError(f"ConceptManifold: give one label for each of the {count} inputs, not {given}")
    known = list(dict.fromkeys(labels))
    known = sorted(known) if not isinstance(known[0], str) else known
    numbers = torch.tensor([known.index(label) for label in labels])
    return Labelled(
        data, numbers, tuple(label if isinstance(label, str) else f"{label:g}" for label in known)
    )


def gathered(
    model: Model, inputs: Any, site: Site, *, tokens: TokenChoice | None, batch: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations of the chosen tokens, ``[entry, dim]``, and the input of each, ``[entry]``.

    Where an input would give more than its share of `most` entries, an even choice of them is kept.
    """
    count = len(inputs) if isinstance(inputs, (torch.Tensor, Sequence)) else 1
    share = max(1, most // max(1, count))
    rows, owners, done = [], [], 0
    for number, some in enumerate(in_batches(inputs, batch)):
        what = f"ConceptManifold {site} {tokens} batch {number} of {batch}, {share} each"
        found = kept(what, lambda some=some: entries_of(model, some, site, tokens, share))
        rows.append(found[:, 1:])
        owners.append(found[:, 0].long() + done)
        done = int(owners[-1].max()) + 1
    return torch.cat(rows), torch.cat(owners)


def entries_of(model: Model, batch: Any, site: Site, tokens: TokenChoice | None, share: int) -> torch.Tensor:
    """Row of the batch and activation of each kept token, at most `share` a row; ``[entry, 1 + dim]``."""
    acts = model.capture(batch, str(site))
    x = acts[str(site)].float()
    if "token" not in acts.axes[site]:
        x = x.flatten(1)
        return torch.cat([torch.arange(len(x), dtype=x.dtype)[:, None], x], 1)
    described = acts.map_of(site)
    choice = usual_tokens(described) if tokens is None else tokens
    chosen = described.select("all" if choice is None else choice).cpu().expand(x.shape[:2])
    found = []
    for row, mask in enumerate(chosen):
        places = mask.nonzero()[:, 0]
        if len(places) > share:
            places = places[torch.linspace(0, len(places) - 1, share).round().long()]
        own = x[row, places].flatten(1)
        found.append(torch.cat([torch.full((len(own), 1), float(row)), own], 1))
    return torch.cat(found)


def trained(rows: torch.Tensor, atoms: int, settings: Fitting) -> Dictionary:
    """A top-k dictionary of some activations; a run that was cut off goes on with it."""
    mine = keeper()
    folder = None if mine is None else mine.folder / "concept-manifold-dictionary"
    return fit_dictionary(rows, atoms, settings=settings, folder=folder)
