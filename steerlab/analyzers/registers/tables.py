"""Tables and figures of long tokens, register neurons and remedies."""

from __future__ import annotations

from typing import Any

import torch

from steerlab.analyzers.registers.finding import Neurons, Plan
from steerlab.analyzers.registers.remedies import Chosen
from steerlab.numerics.massive import Lengths
from steerlab.report import Plot
from steerlab.sites import Site


def lengths_table(
    plan: Plan, sites: list[Site], histograms: list[Lengths], special: torch.Tensor, above: float
) -> dict[str, Any]:
    """A row a block: lengths of patches, the valley in them (0 for none), lengths of special tokens."""
    valleys = [one.valley() for one in histograms]
    table = {
        "site": [str(site) for site in sites],
        "block": torch.arange(len(sites)),
        "median": torch.tensor([one.quantile(0.5) for one in histograms]),
        "99 of 100": torch.tensor([one.quantile(0.99) for one in histograms]),
        "longest": torch.tensor([one.quantile(1.0) for one in histograms]),
        "share above": torch.tensor([one.share_above(above) for one in histograms]),
        "valley": torch.tensor([0.0 if v is None else v.at for v in valleys]),
        "valley depth": torch.tensor([0.0 if v is None else v.depth for v in valleys]),
        "two modes": ["yes" if v is not None and v.bimodal else "no" for v in valleys],
    }
    for name, (start, stop) in plan.tokens.groups.items():
        if name != "patches":
            own = [i for i, token in enumerate(plan.special) if start <= token < stop]
            table[name] = special[:, own].mean(1).float()
    return table


def neurons_table(found: Neurons, chosen: Chosen) -> dict[str, Any]:
    """A row a register neuron, strongest first."""
    block, neuron = (torch.tensor(values) for values in zip(*chosen, strict=True))
    return {
        "block": block,
        "neuron": neuron,
        "at long patches": found.at_long[block, neuron].float(),
        "at all patches": found.at_all[block, neuron].float(),
        "mean elsewhere": found.ordinary[block, neuron].float(),
    }


def plots(probe: str) -> dict[str, Plot]:
    """The figures of the report."""
    lengths = {"x": "block", "y": "median,99 of 100,longest", "x label": "block", "y label": "length"}
    bars = {"names": "remedy", "y": "long patches", "label": "share of patches that are long"}
    return {
        "lengths": Plot(
            "lines",
            "lengths",
            "Lengths of the patches by block",
            lengths | {"x ticks": "whole", "y scale": "log"},
        ),
        "remedies": Plot("bars", "remedies", f"Long patches at {probe} under each remedy", bars),
        "maps": Plot(
            "maps",
            "maps",
            f"Length of the stream at {probe}",
            {"maps": "length,length under test-time register", "scale": "shared", "label": "length"},
        ),
    }
