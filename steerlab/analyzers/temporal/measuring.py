"""Tables about time in activations and in the two parts of their codes, beside surrogates without time."""

from __future__ import annotations

import torch

from steerlab.bases import TemporalFeaturizer
from steerlab.numerics.temporal import (
    autocorrelation,
    energy_share,
    explained_by_past,
    permuted,
    slow_fast_cka,
    tortuosity,
    u_statistic,
)
from steerlab.report import Plot, Table

LAGS = (1, 2, 3, 5, 8, 12, 20)
WINDOWS = (1, 2, 4, 8, 16, 32)
PARTS = ("predictable", "novel")


def measures(tfa: TemporalFeaturizer, x: torch.Tensor, *, surrogates: int = 3) -> dict[str, Table]:
    """``energy``, ``memory``, ``past`` and ``measures`` of sequences.

    Parameters
    ----------
    tfa : TemporalFeaturizer
        The two parts.
    x : Tensor
        ``[sequence, token, dim]``.
    surrogates : int
        How often tokens are put in another order.
    """
    found = tfa.split(x)
    decoder = tfa.weights["decoder"].to(x)
    told, new = found.predicted @ decoder, found.novel @ decoder
    y = x * tfa.scale - tfa.weights["bias"].to(x)
    own = slice(tfa.skip, None)
    x, y, told, new = x[:, own], y[:, own], told[:, own], new[:, own]
    shuffled = [permuted(x, seed) for seed in range(surrogates)]
    share = energy_share(told, new)
    missed = (y - told - new).square().sum(-1).mean(0) / y.square().sum(-1).mean(0)
    energy = {
        "token": torch.arange(x.shape[1]) + tfa.skip,
        "predictable share": share.mean(0),
        "predictable share low": share.quantile(0.1, 0),
        "predictable share high": share.quantile(0.9, 0),
        "unexplained": missed,
    }
    return {
        "energy": energy,
        "memory": _memory(x, told, new, shuffled),
        "past": _past(x, shuffled),
        "measures": _measures(found, (x, told, new), shuffled[0]),
    }


def measure_plots() -> dict[str, Plot]:
    """The figures of `measures`."""
    return {
        "energy": Plot(
            "lines",
            "energy",
            "Energy foretold by the past, and missed (band: 10 to 90 %)",
            {
                "x": "token",
                "y": "predictable share,unexplained",
                "x label": "token",
                "y label": "share of energy",
                "x ticks": "whole",
            },
        ),
        "memory": Plot(
            "lines",
            "memory",
            "Likeness of tokens apart (grey: in another order)",
            {
                "x": "lag",
                "y": "activation,predictable,novel",
                "x label": "lag (tokens)",
                "y label": "cosine",
                "x ticks": "whole",
            },
        ),
        "past": Plot(
            "lines",
            "past",
            "Variance that the tokens before span (grey: in another order)",
            {
                "x": "window",
                "y": "explained,noise",
                "x label": "window (tokens)",
                "y label": "share of variance",
                "x ticks": "whole",
            },
        ),
    }


def _memory(x: torch.Tensor, told: torch.Tensor, new: torch.Tensor, shuffled: list[torch.Tensor]) -> Table:
    lags = [lag for lag in LAGS if lag < x.shape[1]]
    table = {"lag": torch.tensor(lags)}
    # a mean that all tokens share would make every cosine high; parts of the code have none taken off
    table["activation"] = autocorrelation(x - x.mean((0, 1)), lags)
    for seed, one in enumerate(shuffled):
        table[f"activation random {seed}"] = autocorrelation(one - one.mean((0, 1)), lags)
    return table | {"predictable": autocorrelation(told[:, 1:], lags), "novel": autocorrelation(new, lags)}


def _past(x: torch.Tensor, shuffled: list[torch.Tensor]) -> Table:
    last = x.shape[1] - 1
    windows = [window for window in WINDOWS if window <= last]
    pairs = [explained_by_past(x, last, window) for window in windows]
    table = {
        "window": torch.tensor(windows),
        "explained": torch.tensor([share for share, _ in pairs], dtype=torch.float64),
        "noise": torch.tensor([floor for _, floor in pairs], dtype=torch.float64),
    }
    for seed, one in enumerate(shuffled):
        values = [explained_by_past(one, last, window)[0] for window in windows]
        table[f"explained random {seed}"] = torch.tensor(values, dtype=torch.float64)
    return table


def _measures(found, parts: tuple[torch.Tensor, ...], shuffled: torch.Tensor) -> Table:
    """Effective rank, tortuosity and likeness to the slow and fast part, a row a thing that is measured."""
    x, told, new = parts
    rows = {"activation": x, "activation, tokens in another order": shuffled}
    rows |= {"predictable": told[:, 1:], "novel": new}
    codes = {"predictable": found.predicted[:, -x.shape[1] :], "novel": found.novel[:, -x.shape[1] :]}
    slow_fast = {
        name: torch.tensor([slow_fast_cka(z, own) for z, own in zip(code, x, strict=True)]).mean(0)
        for name, code in codes.items()
    }
    nothing = torch.full((2,), torch.nan)
    both = [slow_fast.get(name, nothing) for name in rows]
    return {
        "of": list(rows),
        "effective rank of the last token": torch.tensor([u_statistic(one[:, -1]) for one in rows.values()]),
        "tortuosity": torch.tensor(
            [sum(map(tortuosity, one)) / len(one) for one in rows.values()], dtype=torch.float64
        ),
        "CKA with the slow part": torch.stack([one[0] for one in both]),
        "CKA with the fast part": torch.stack([one[1] for one in both]),
        "negative scales": torch.full((len(rows),), float((found.share < 0).double().mean())),
    }
