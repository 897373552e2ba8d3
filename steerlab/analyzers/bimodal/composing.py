"""Queries made of a picture and a caption in several ways, and how well each finds what was meant."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.analyzers.bimodal.pairs import Shared
from steerlab.numerics.gaps import neighbour_distance
from steerlab.numerics.geometry import unit
from steerlab.report import Evidence, Plot, Table

BIMODAL, EDIT = "rebuilt picture + bimodal part", "picture + bimodal part"
NAIVE, REBUILT = "picture + caption", "rebuilt picture + rebuilt caption"
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
        BIMODAL: seen + steps.bimodal[word],
        EDIT: pictures + steps.bimodal[word],
        NAIVE: pictures + steps.whole[word],
        REBUILT: seen + steps.rebuilt[word],
        "rebuilt picture + bimodal part, no constant": seen + steps.bare[word],
        PICTURE: pictures,
        CAPTION: steps.whole[word],
        "rebuilt picture + the rest of the caption": seen + steps.unimodal[word],
    }
    ways |= {f"rebuilt picture + random atoms {i}": seen + one[word] for i, one in enumerate(steps.random)}
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
    # the error of a difference of two shares on the same queries counts those on which they disagree
    apart = [float((hit ^ hits[BIMODAL]).double().sum().sqrt() / len(word)) for hit in hits.values()]
    table["error of the difference"] = torch.tensor(apart)
    count = int(word.max()) + 1
    each = torch.zeros(max(count, len(steps.whole)))
    single = {
        name: each.index_add(0, word, hits[name].float())
        / each.index_add(0, word, torch.ones(len(word))).clamp_min(1)
        for name in (BIMODAL, EDIT, NAIVE, REBUILT)
    }
    return table, single


def evidence_of(table: Table) -> tuple[Evidence, ...]:
    """Recall and distance beside what they must exceed."""
    row = {name: i for i, name in enumerate(table["query"])}
    found, far = table["recall@1"].tolist(), table["distance"].tolist()
    own, error = row[BIMODAL], table["error of the difference"].tolist()
    random = [i for name, i in row.items() if "random atoms" in name]
    others = ((NAIVE, "a picture and a caption added"), (REBUILT, "both rebuilt and added"))
    return (
        Evidence(
            "recall@1 of a picture and the bimodal part of a caption (controls: either alone, random atoms)",
            "intervened",
            found[own],
            (found[row[PICTURE]], found[row[CAPTION]], *(found[i] for i in random)),
        ),
        *(
            Evidence(
                f"the same less recall@1 of {said} (floor: two standard errors)",
                "intervened",
                found[own] - found[row[name]],
                floor=2 * error[row[name]],
            )
            for name, said in others
        ),
        *(
            Evidence(
                f"distance from real pictures of {said}, less that with the bimodal part alone",
                "intervened",
                far[row[name]] - far[own],
                unit="1 - cos",
            )
            for name, said in others
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
