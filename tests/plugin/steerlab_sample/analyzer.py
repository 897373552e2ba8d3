"""An analyzer: a question, from the public surface of steerlab alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab import Model
from steerlab.analyzers import Analyzer
from steerlab.edits import Edit
from steerlab.report import Report, effect_of
from steerlab.store import made_on


@dataclass(frozen=True)
class Lengths(Analyzer):
    """How long activations are at some sites, and what an edit there does to the output.

    Parameters
    ----------
    at : str
        Sites.
    edit : Edit
        Tried at the first of them.
    """

    at: str
    edit: Edit

    def __call__(self, model: Model, data: Any) -> Report:
        """One row a site."""
        acts = model.capture(data, at=self.at)
        sites = [str(site) for site in acts]
        tried = {sites[0]: self.edit}
        found = model.compare(data, tried, controls=2)
        return Report(
            "How long are activations?",
            tables={
                "lengths": {
                    "site": sites,
                    "length": torch.stack([acts[s].norm(dim=-1).mean() for s in sites]),
                }
            },
            interventions={"the edit": made_on(model, tried, repr(self.edit))},
            evidence=(effect_of(f"{self.edit!r} at {sites[0]}", found),),
        )
