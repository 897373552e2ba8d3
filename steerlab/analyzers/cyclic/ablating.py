"""What silencing, turning and keeping the neurons that carry a number does to the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.cyclic.neurons import carriers
from steerlab.analyzers.cyclic.prompts import Sums
from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.bases import FourierCode
from steerlab.intervention import Changes, Intervention
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Table
from steerlab.sites import Site
from steerlab.store import made_on


@dataclass(frozen=True, eq=False)
class Ablations:
    """A part of a report: the neurons, and the accuracy without them."""

    tables: Mapping[str, Table]
    plots: Mapping[str, Plot]
    evidence: Evidence
    interventions: Mapping[str, Intervention]


def ablations(
    model: Model,
    site: str,
    code: FourierCode,
    sums: Sums,
    outcomes: Outcomes,
    settings: tuple[float, int],
) -> Ablations | None:
    """Accuracy under edits of the neurons of the block whose stream was looked at; None where it has none.

    Parameters
    ----------
    model : Model
        The model.
    site : str
        A ``resid`` site.
    code : FourierCode
        The number's code there.
    sums, outcomes
        Prompts that are answered rightly, and the answers.
    settings : tuple
        The least share of a neuron's output that lies in the code, and how many random choices.
    """
    threshold, controls = settings
    place = Site.parse(site).place
    if Site.parse(site).stream != "resid" or Site(place, "mlp.act") not in model.sites():
        return None
    found = carriers(model, place, code, threshold=threshold)
    if not len(found) or 2 * len(found) > len(found.share):
        return None
    arms: dict[str, Changes] = {
        "silent": found.zero(),
        "sign turned": found.flip(),
        "all others silent": found.only(),
    }
    arms |= {f"random {seed}": found.others(seed) for seed in range(controls)}
    answers = replace(sums.asked(model, site, outcomes), site=found.site)
    right = {}
    for name, changes in tqdm(arms.items(), desc="neurons", disable=None, leave=False):

        def run(edit=changes[found.site]) -> torch.Tensor:
            with torch.no_grad():
                return answers.under(lambda _: edit, torch.zeros(1, 1))[0, :, :-1].argmax(-1)

        said = kept(f"Cyclic neurons {site} {name} {threshold}", run)
        right[name] = float((said == sums.answers).double().mean())
    table = {
        "neurons": [name.replace("random", "as many others silent,") for name in right],
        "accuracy": torch.tensor(list(right.values()), dtype=torch.float64),
    }
    listed = {
        "neuron": found.index,
        "share": found.share[found.index],
        "period": torch.tensor(found.period, dtype=torch.float64),
    }
    count = f"{len(found)} neurons of {place}"
    return Ablations(
        {"neurons": listed, "without neurons": table},
        {
            "neurons": Plot(
                "bars",
                "without neurons",
                f"Answers without the {count} that write the number",
                {"names": "neurons", "y": "accuracy", "label": "share of right answers (1 unedited)"},
            )
        },
        Evidence(
            f"right answers lost when the {count} that write the number are silent "
            "(controls: as many other neurons)",
            "intervened",
            1 - right["silent"],
            tuple(1 - right[f"random {seed}"] for seed in range(controls)),
            0.0,
            "share",
        ),
        {"silence the number's neurons": made_on(model, found.zero(), f"{count} that write the number")},
    )
