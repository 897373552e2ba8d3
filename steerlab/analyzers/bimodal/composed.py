"""Composed: pictures found by another picture and a caption of what should be different about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.bimodal.acting import along
from steerlab.analyzers.bimodal.composing import Queries, bars_of, evidence_of, ranked, vectors_of
from steerlab.analyzers.bimodal.pairs import (
    aligned_settings,
    check_pairs,
    embedded,
    learnt,
    lengths,
    shared_of,
)
from steerlab.analyzers.settings import check_texts, check_whole, is_number
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError
from steerlab.intervention import Intervention
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.report import Report
from steerlab.store import made_on


@dataclass(frozen=True)
class Composed(Analyzer):
    """Ask for "the same, but ..." by adding the bimodal part of a caption to the embedding of a picture.

    Of every held out pair whose caption holds one of some words, and whose caption with another of them is
    that of a picture of the gallery, the query is the picture and a caption of the change. It is made by
    ``rebuilt(x_picture) + decode(z_B)`` with the bimodal codes of the change (arXiv 2602.06218, without the
    decoder's constant, which stands beside it), by adding the two embeddings, or their reconstructions as
    that paper does, and by either part alone. Adding to the embedding itself is the intervention, our own.
    Told are recall among all pictures of the gallery, the source's own
    twin included, and how far queries are from real embeddings: ``1 - cos`` to the k-th nearest picture.

    Parameters
    ----------
    words : list of str
        What one of is changed into another, such as colours.
    change : str
        The caption of the change, with ``{}`` for the word.
    images, texts : str
        Sites of the two embeddings, in one space.
    dictionary : Dictionary, optional
        Of these embeddings; otherwise one is trained on the pairs before the sources.
    atoms, k, steps, seed, align, gap, eps
        As for `Bimodal`.
    gallery : int
        Pairs, the last ones, that are looked among; as many before them are the sources.
    nearest : int
        Which neighbour the distance is to.
    controls, batch : int
        Random choices of atoms in place of the bimodal ones; pairs of a forward.
    """

    words: Sequence[str] = ()
    change: str = "a {}"
    images: str = "vision.pooled"
    texts: str = "text.pooled"
    dictionary: Dictionary | None = None
    atoms: int = 128
    k: int = 12
    steps: int = 800
    seed: int = 0
    align: float = 0.3
    gap: float = 3.0
    eps: float = 0.05
    gallery: int = 576
    nearest: int = 5
    controls: int = 3
    batch: int = 64

    def __post_init__(self) -> None:
        check_texts(self, "words")
        check_whole(self, "atoms", "k", "steps", "gallery", "nearest", "controls", "batch")
        check_whole(self, "seed", least=0)
        if len(self.words) < 2 or not isinstance(self.change, str) or "{}" not in self.change:
            raise SteerlabError("Composed needs two words or more, and a change with {} for the word")
        for name in ("align", "gap", "eps"):
            if not is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise SteerlabError(f"Composed: {name}={getattr(self, name)!r} is not a number of 0 or more")

    def __call__(self, model: Model, data: Any) -> Report:
        """Table ``queries``: a row a way of making them. Table ``words``: the same for each word alone."""
        texts, _ = check_pairs("Composed", data)
        needed = 2 * self.gallery + (1 if self.dictionary is None else 0)
        if len(texts) < needed:
            raise SteerlabError(
                f"Composed: {len(texts)} pairs; it needs {self.gallery} to look among, as many sources, "
                "and others to learn from"
            )
        pairs = embedded(model, data, (self.images, self.texts), self.batch)
        known = pairs[: -2 * self.gallery] if len(pairs) > 2 * self.gallery else pairs[: self.gallery]
        dictionary = self.dictionary
        if dictionary is None:
            settings = aligned_settings(self.k, self.steps, seed=self.seed, align=self.align, gap=self.gap)
            dictionary = learnt(known, self.atoms, settings)
        shared = shared_of(dictionary, known, self.eps)
        found = self._queries(texts)
        changes = kept(f"changes {self.change} {list(self.words)}", lambda: self._changes(model))
        unit = pairs / lengths(pairs)
        sources, gallery = unit[-2 * self.gallery : -self.gallery, 0], unit[-self.gallery :, 0]
        steps = vectors_of(shared, changes, self.controls)
        table, single = ranked(found, sources, gallery, steps=steps, nearest=self.nearest)
        return Report(
            title=f"{len(found.word)} queries for the same picture with another of {len(self.words)} words",
            about=f"Gallery of {self.gallery} pictures; the change is told as {self.change!r}. "
            f"{len(shared.bimodal)} bimodal atoms of {len(dictionary)} hold "
            f"{shared.shares.shared:.1%} of the energy.",
            tables={"queries": table, "words": {"word": list(self.words), **single}},
            plots=bars_of(table, self.nearest),
            interventions=self._interventions(model, steps.bimodal),
            evidence=evidence_of(table),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Every pair once, and the captions of the changes."""
        return len(data[0]) + len(self.words)

    def _queries(self, texts: Sequence[str]) -> Queries:
        """Which sources may become what: caption with one word in place of another, found in the gallery."""
        where: Mapping[str, int] = {text: i for i, text in enumerate(texts[-self.gallery :])}
        found = []
        for i, text in enumerate(texts[-2 * self.gallery : -self.gallery]):
            said = text.split()
            own = [word for word in self.words if word in said]
            for number, word in enumerate(self.words):
                other = " ".join(word if one in own else one for one in said)
                if len(own) == 1 and word != own[0] and other in where:
                    found.append((i, number, where[other]))
        if not found:
            raise SteerlabError(
                f"Composed: no caption of the gallery is that of a source with another of {list(self.words)}"
            )
        return Queries(*torch.tensor(found).unbind(1))

    def _changes(self, model: Model) -> torch.Tensor:
        """Embeddings of the captions of the change, brought to length 1, ``[word, dim]``."""
        captions = [self.change.format(word) for word in self.words]
        rows = model.capture(captions, at=self.texts)[self.texts].detach().float().cpu()
        return rows / lengths(rows)

    def _interventions(self, model: Model, steps: torch.Tensor) -> dict[str, Intervention]:
        """For each word the step that turns pictures toward it, at the length of each embedding."""
        return {
            f"toward {word}": made_on(
                model, {self.images: along(step)}, f"the bimodal part of {self.change.format(word)!r} added"
            )
            for word, step in zip(self.words, steps, strict=True)
        }
