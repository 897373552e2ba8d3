"""Tables and figures of a report on numbers: spectra, steering, and the neurons behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from steerlab.analyzers.cyclic.acting import Outcome
from steerlab.numerics.fourier import Spectrum
from steerlab.report import Plot, Table


def spectrum_tables(spectra: Mapping[str, Spectrum], best: str, periods: Sequence[float]) -> dict[str, Table]:
    """``spectra`` (a row a site and period), ``spectrum`` (of one site) and ``sites`` (a row a site)."""
    every = [(site, one) for site, one in spectra.items()]
    whole = {
        "site": [site for site, one in every for _ in one.periods],
        "period": torch.tensor([period for _, one in every for period in one.periods], dtype=torch.float64),
        "share": torch.cat([one.share for _, one in every]),
        "largest of the null": torch.cat([one.null.amax(0) for _, one in every]),
    }
    own = spectra[best]
    single = {"period": torch.tensor(own.periods, dtype=torch.float64), "share": own.share.clamp_min(0)}
    single |= {f"share random {i}": null.clamp_min(0) for i, null in enumerate(own.null)}
    sites = {"site": list(spectra), "place": torch.arange(len(spectra))}
    for period in periods:
        at = own.periods.index(period)
        sites[f"period {period:.3g}"] = torch.stack([one.share[at] for _, one in every]).clamp_min(0)
    sites["shuffled"] = torch.stack(
        [one.null[:, [one.periods.index(period) for period in periods]].max() for _, one in every]
    ).clamp_min(0)
    return {"spectra": whole, "spectrum": single, "sites": sites}


def spectrum_plots(best: str, periods: Sequence[float], sites: int) -> dict[str, Plot]:
    """The spectrum of one site, and the periods from site to site, where there are several."""
    share = "held-out R² (below 0 drawn as 0)"
    plots = {
        "spectrum": Plot(
            "lines",
            "spectrum",
            f"Which periods probes find at {best}",
            {"x": "period", "y": "share", "x label": "period", "y label": share},
        ),
        "sites": Plot(
            "lines",
            "sites",
            "The periods from site to site",
            {
                "x": "place",
                "y": ",".join([*(f"period {period:.3g}" for period in periods), "shuffled"]),
                "x label": "scanned site",
                "x ticks": "whole",
                "y label": share,
            },
        ),
    }
    return plots if sites > 1 else {"spectrum": plots["spectrum"]}


def accuracy_table(numbers: torch.Tensor, correct: torch.Tensor) -> Table:
    """How often the model is right, a row a number."""
    distinct = numbers.unique()
    hits = [correct[numbers == one].double() for one in distinct]
    return {
        "number": distinct,
        "prompts": torch.tensor([len(one) for one in hits]),
        "accuracy": torch.stack([one.mean() for one in hits]),
    }


def edit_tables(found: Mapping[str, Outcome]) -> dict[str, Table]:
    """``edits``, beside random changes of the same length, and ``parts``: periods left out, interchanges."""
    beside = {name: one for name, one in found.items() if one.controls}
    alone = {name: one for name, one in found.items() if not one.controls}
    table = _rows(beside)
    for i, values in enumerate(zip(*(one.controls for one in beside.values()), strict=True)):
        table[f"success random {i}"] = torch.tensor(values, dtype=torch.float64)
    return {"edits": table, "parts": _rows(alone)}


def _rows(found: Mapping[str, Outcome]) -> dict[str, torch.Tensor | list[str]]:
    columns = {"success": "success", "stays": "stays", "norm ratio": "ratio"}
    values = {
        name: torch.tensor([getattr(one, field) for one in found.values()], dtype=torch.float64)
        for name, field in columns.items()
    }
    return {"edit": list(found), **values}


def edit_plots() -> dict[str, Plot]:
    """Success of every edit, of those in the first table beside random changes of the same length."""
    options = {"names": "edit", "y": "success", "label": "share of prompts whose answer is the wanted one"}
    return {
        "edits": Plot("bars", "edits", "Does the answer become what the edit says?", options),
        "parts": Plot("bars", "parts", "The same with parts of the code, and by interchange", options),
    }
