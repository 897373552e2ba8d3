"""Whether codes follow events that are known: their likeness inside one against that of different ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from steerlab.bases import TemporalFeaturizer
from steerlab.errors import SteerlabError
from steerlab.numerics.temporal import centred_cosines, event_contrast, stationary
from steerlab.report import Evidence, Plot, Table


def event_labels(events: Sequence[Sequence[Any]], texts: int, tokens: int) -> torch.Tensor:
    """The number of each token's event, ``[text, token]``, below 0 where it belongs to none.

    Parameters
    ----------
    events : list of lists
        For each text a label a token, None for no event; or spans ``(begin, end)`` of tokens, the end not
        among them.
    texts, tokens : int
        How many there are; labels of further tokens are not looked at.
    """
    if isinstance(events, str) or not isinstance(events, Sequence) or len(events) < texts:
        given = len(events) if isinstance(events, Sequence) else repr(events)
        raise SteerlabError(f"Temporal: events= holds {given} entries; give one for each of {texts} texts")
    return torch.stack([_labels(list(events[i]), i, tokens) for i in range(texts)])


def event_table(tfa: TemporalFeaturizer, x: torch.Tensor, events: torch.Tensor) -> Table:
    """Table ``events``: the score of arXiv 2511.01836 of the activation and of both codes.

    ``score random 0`` is that of similarities which depend on the distance of two tokens alone, each diagonal
    replaced by its mean: what events of these lengths get because tokens that are near are alike. Texts
    whose tokens do not hold two events, one of them of two tokens, are left out.

    Parameters
    ----------
    tfa : TemporalFeaturizer
        The two parts.
    x : Tensor
        ``[text, token, dim]``.
    events : Tensor
        ``[text, token]``, below 0 for none.
    """
    found = tfa.split(x)
    own = slice(tfa.skip, None)
    usable = [i for i, row in enumerate(events[:, own]) if _usable(row)]
    if not usable:
        raise SteerlabError(
            "Temporal: in no text do events= tell two events, one of them with two tokens or more, among "
            f"the tokens {tfa.skip} to {x.shape[1] - 1}"
        )
    rows = {"activation": x, "predictable": found.predicted, "novel": found.novel}
    scores = torch.tensor([_scores(codes[:, own], events[:, own], usable) for codes in rows.values()])
    return {
        "of": list(rows),
        "score": scores[:, 0],
        "score random 0": scores[:, 1],
        "texts": torch.full((len(rows),), len(usable)),
    }


def event_plot() -> Plot:
    """The figure of the table."""
    return Plot(
        "bars",
        "events",
        "Likeness inside events above that across (grey: by distance alone)",
        {"names": "of", "y": "score", "label": "difference of cosines", "names label": "codes"},
    )


def event_evidence(table: Table) -> Evidence:
    """The score of the predictable codes beside what the distance of tokens alone gives."""
    place = table["of"].index("predictable")
    return Evidence(
        "predictable codes are more alike inside events than across (controls: by distance alone)",
        "observed",
        float(table["score"][place]),
        (float(table["score random 0"][place]),),
        unit="difference of cosines",
    )


def _labels(given: list[Any], text: int, tokens: int) -> torch.Tensor:
    found = torch.full((tokens,), -1)
    if given and all(isinstance(one, (tuple, list)) for one in given):
        for number, span in enumerate(given):
            whole = all(isinstance(edge, int) for edge in span) and len(span) == 2
            if not whole or not 0 <= span[0] < span[1]:
                raise SteerlabError(f"Temporal: events= of text {text}: {span!r} is no span (begin, end)")
            if bool((found[span[0] : span[1]] >= 0).any()):
                raise SteerlabError(f"Temporal: events= of text {text}: {span!r} overlaps another span")
            found[span[0] : span[1]] = number
        return found
    if len(given) < tokens:
        raise SteerlabError(f"Temporal: events= of text {text} has {len(given)} labels for {tokens} tokens")
    known = {label: number for number, label in enumerate(dict.fromkeys(given[:tokens])) if label is not None}
    return torch.tensor([known.get(label, -1) for label in given[:tokens]])


def _usable(events: torch.Tensor) -> bool:
    counts = events[events >= 0].unique(return_counts=True)[1]
    return len(counts) > 1 and int(counts.max()) > 1


def _scores(codes: torch.Tensor, events: torch.Tensor, texts: list[int]) -> list[float]:
    """Mean score of the texts, and that of similarities by distance alone."""
    sums = torch.zeros(2, dtype=torch.float64)
    for i in texts:
        similarity = centred_cosines(codes[i])
        for way, one in enumerate((similarity, stationary(similarity))):
            sums[way] += event_contrast(one, events[i])
    return (sums / len(texts)).tolist()
