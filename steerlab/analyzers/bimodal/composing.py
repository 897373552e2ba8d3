"""Queries made of a picture and a caption in several ways, and how well each finds what was meant."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.analyzers.bimodal.pairs import Shared
from steerlab.numerics.gaps import neighbour_distance
from steerlab.numerics.geometry import unit
from steerlab.report import Evidence, Plot, Table

BIMODAL, NAIVE = "picture + bimodal part", "picture + caption"
PICTURE, CAPTION = "picture alone", "caption alone"


@dataclass(frozen=True, eq=False)
class Queries:
    """What is asked, ``[query]`` each: which source, which word instead, and its picture in the gallery."""

    source: torch.Tensor
    word: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True, eq=False)
class Steps:
    """What captions of a change add to a picture, ``[word, dim]`` each, and the dictionary they are from.

    Attributes
    ----------
    shared : Shared
        The dictionary.
    whole, rebuilt, bimodal, bare, unimodal : Tensor
        The embedding itself; its reconstruction; the decoded bimodal codes; these without the decoder's
        constant, as the paper has it; and what is left of the embedding without them.
    random : list of Tensor
        As `bimodal`, for as many atoms drawn from all living ones.
    """

    shared: Shared
    whole: torch.Tensor
    rebuilt: torch.Tensor
    bimodal: torch.Tensor
    bare: torch.Tensor
    unimodal: torch.Tensor
    random: list[torch.Tensor]


def vectors_of(shared: Shared, changes: torch.Tensor, controls: int) -> Steps:
    """What each caption ``[word, dim]`` adds to a picture, by every way of adding."""
    whole = shared.dictionary
    codes = whole.encode(changes)
    kept = whole.only(shared.bimodal)
    bare = (codes * shared.classes.shared) @ whole.atoms
    random = []
    for seed in range(controls):
        drawn = torch.zeros(len(whole), dtype=torch.bool)
        fires = (codes != 0).any(0).nonzero()[:, 0]
        count = int(shared.classes.shared[fires].sum())
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
        drawn[order[:count]] = True
        # the strengths stay, the atoms are others
        values = codes[:, shared.classes.shared & (codes != 0).any(0)]
        turned = torch.zeros_like(codes)
        turned[:, drawn.nonzero()[:, 0]] = values
        random.append(whole.decode(turned, changes))
    return Steps(
        shared, changes, whole.reconstruct(changes), kept.explained(changes), bare, changes - bare, random
    )


def ranked(
    queries: Queries, sources: torch.Tensor, gallery: torch.Tensor, *, steps: Steps, nearest: int
) -> tuple[Table, Table]:
    """Recall and distance of each way of asking, and recall by word of the two that compete.

    Parameters
    ----------
    queries : Queries
        What is asked.
    sources, gallery : Tensor
        Embeddings of length 1, ``[source, dim]`` and ``[picture, dim]``.
    steps : Steps
        What captions add.
    nearest : int
        Which neighbour the distance is to.

    Returns
    -------
    tuple of Table
        A row a way; a row a word.
    """
    pictures, word = sources[queries.source], queries.word
    seen = steps.shared.dictionary.reconstruct(sources)[queries.source]
    ways = {
        BIMODAL: pictures + steps.bimodal[word],
        NAIVE: pictures + steps.whole[word],
        "rebuilt picture + bimodal part": seen + steps.bimodal[word],
        "rebuilt picture + bimodal part, no constant": seen + steps.bare[word],
        "rebuilt picture + rebuilt caption": seen + steps.rebuilt[word],
        PICTURE: pictures,
        CAPTION: steps.whole[word],
        "picture + the rest of the caption": pictures + steps.unimodal[word],
    }
    ways |= {f"picture + random atoms {i}": pictures + one[word] for i, one in enumerate(steps.random)}
    rows: dict[str, list[float]] = {name: [] for name in ("recall@1", "recall@5", "distance")}
    hits = {}
    for name, asked in ways.items():
        place = _places(asked, gallery, queries.target)
        hits[name] = place <= 1
        rows["recall@1"].append(float((place <= 1).double().mean()))
        rows["recall@5"].append(float((place <= 5).double().mean()))
        rows["distance"].append(float(neighbour_distance(asked, gallery, k=nearest).mean()))
    real = float(neighbour_distance(gallery, k=nearest).mean())
    table = {"query": list(ways), **{name: torch.tensor(values) for name, values in rows.items()}}
    table["distance of real pictures"] = torch.full((len(ways),), real)
    better = (hits[BIMODAL] & ~hits[NAIVE]).sum().double()
    worse = (hits[NAIVE] & ~hits[BIMODAL]).sum().double()
    # McNemar's error of a difference of two shares on the same queries
    table["error of the difference"] = torch.full(
        (len(ways),), float((better + worse).sqrt() / len(word)), dtype=torch.float64
    )
    count = int(word.max()) + 1
    each = torch.zeros(max(count, len(steps.whole)))
    single = {
        name: each.index_add(0, word, hits[name].float())
        / each.index_add(0, word, torch.ones(len(word))).clamp_min(1)
        for name in (BIMODAL, NAIVE)
    }
    return table, single


def evidence_of(table: Table) -> tuple[Evidence, ...]:
    """Recall and distance beside what they must exceed."""
    row = {name: i for i, name in enumerate(table["query"])}
    found, far = table["recall@1"].tolist(), table["distance"].tolist()
    own, naive = row[BIMODAL], row[NAIVE]
    random = [i for name, i in row.items() if name.startswith("picture + random")]
    error = 2 * float(table["error of the difference"][0])
    return (
        Evidence(
            "recall@1 of a picture and the bimodal part of a caption (controls: either alone, random atoms)",
            "intervened",
            found[own],
            (found[row[PICTURE]], found[row[CAPTION]], *(found[i] for i in random)),
        ),
        Evidence(
            "the same less recall@1 of naive addition (floor: two standard errors)",
            "intervened",
            found[own] - found[naive],
            floor=error,
        ),
        Evidence(
            "distance from real pictures, naive addition less bimodal arithmetic",
            "intervened",
            far[naive] - far[own],
            unit="1 - cos",
        ),
    )


def bars_of(table: Table, nearest: int) -> dict[str, Plot]:
    """Recall of every way of asking, and how far queries are from real pictures."""
    real = float(table["distance of real pictures"][0])
    return {
        "recall": Plot(
            "bars",
            "queries",
            "Pictures found by a picture and a caption of the change",
            {"names": "query", "y": "recall@1,recall@5", "label": "recall", "names label": "query"},
        ),
        "distance": Plot(
            "bars",
            "queries",
            "How far queries are from real pictures",
            {
                "names": "query",
                "y": "distance,distance of real pictures",
                "label": f"1 - cos to picture {nearest} (real: {real:.3f})",
                "names label": "query",
            },
        ),
    }


def _places(asked: torch.Tensor, gallery: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """At which place the target is found, from 1, by cosine; ties count against it."""
    b = unit(gallery)
    return torch.cat(
        [
            (scores >= scores.gather(1, own[:, None])).sum(1)
            for some, own in zip(asked.split(1024), target.split(1024), strict=True)
            for scores in (unit(some) @ b.T,)
        ]
    )
