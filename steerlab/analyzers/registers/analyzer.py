"""Registers: the question, its tables, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.batches import first_rows
from steerlab.analyzers.registers import remedies
from steerlab.analyzers.registers.finding import Neurons, Plan, described, lengths_of, neurons_of
from steerlab.analyzers.registers.heads import quiet_heads
from steerlab.analyzers.registers.measuring import MEASURES, measured
from steerlab.analyzers.registers.remedies import Edits
from steerlab.analyzers.registers.tables import lengths_table, neurons_table, plots
from steerlab.analyzers.seen import drawable, pixels_of
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.numerics.massive import Lengths
from steerlab.report import Evidence, Report
from steerlab.store import made_on

TAIL = 0.98  # of the patches: what is longer counts as long where their lengths have one mode; our own


@dataclass(frozen=True)
class Registers(Analyzer):
    """Find patches whose stream is long, the neurons that make it so, and compare what may be done about it.

    Long patches (arXiv 2309.16588) are told by their length at a probe, above the valley between the two
    modes of the lengths; where there is one mode alone, which the report says, the longest two per cent stand
    in. Register neurons (arXiv 2506.08010) are those with the largest mean magnitude at long patches. The
    test-time register lets them speak at one token in place of the patches. An edit keeps the number of
    tokens, so it is one which the model has, the first register or the class token, where the paper appends
    one. Beside it: the neurons silenced, long tokens cut or overwritten, registers overwritten by their
    means, and heads gated that attend to a key of next to no value (where there are none, softly, those that
    attend most to one key). Controls are random neurons of the same blocks and sizes, and other heads.

    Parameters
    ----------
    probe : str, optional
        Where lengths are told; the output of the last block but one by default.
    above : float, optional
        The length that is too long, in place of the valley.
    neurons : int
        How many.
    below : int, optional
        The last block whose neurons count; the probe's by default.
    token : int, optional
        The token that becomes the register.
    gates : int
        How many heads are gated at most.
    controls : int
        Random choices beside each finding.
    measured : int
        Inputs, the first ones, on which remedies are measured.
    batch : int
        Inputs that share a forward.
    """

    probe: str | None = None
    above: float | None = None
    neurons: int = 10
    below: int | None = None
    token: int | None = None
    gates: int = 6
    controls: int = 3
    measured: int = 16
    batch: int = 8

    def __post_init__(self) -> None:
        check_whole(self, "neurons", "gates", "controls", "measured", "batch")
        for name in ("below", "token"):
            if getattr(self, name) is not None:
                check_whole(self, name, least=0)
        if self.above is not None and not (is_number(self.above) and self.above > 0):
            raise SteerlabError(f"Registers: above={self.above!r} is not a length above 0")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``lengths`` by block, ``neurons``, ``heads``, ``remedies``, ``maps`` of some pictures."""
        sites = [site for site in model.sites("**.resid") if site.place.startswith("blocks.")]
        if len(sites) < 2:
            raise SteerlabError("Registers is for models with one tower of two blocks or more")
        probe = sites[-2] if self.probe is None else model.site(self.probe)
        if probe not in sites:
            raise SteerlabError(f"Registers: probe={self.probe!r} is not the output of a block")
        blocks = tuple(site.place for site in sites[: sites.index(probe) + 1])
        tokens = described(model, data, str(probe))
        plan = Plan(model, data, str(probe), blocks, self.batch, tokens)
        histograms, special = lengths_of(plan, sites)
        above, how = self._above(histograms[sites.index(probe)])
        found = neurons_of(plan, above)
        if not found.count:
            raise SteerlabError(f"Registers: no patch is longer than {above:.4g} at {probe}")
        last = len(blocks) - 1 if self.below is None else min(self.below, len(blocks) - 1)
        chosen = remedies.chosen_neurons(found, self.neurons, last)
        heads, quiet, mass = quiet_heads(plan)
        no_ops = bool(quiet.any())
        order = (quiet if no_ops else mass).argsort(descending=True).tolist()[: self.gates]
        closed = [heads[i] for i in order if quiet[i] or not no_ops]
        gates = "no-op heads gated" if no_ops else "heads with a sink gated"
        target, word = self._target(plan)
        tried = self._remedies(plan, found, chosen, above, target)
        tried[gates] = remedies.gated(closed, soft=not no_ops)
        random = self._controls(plan, found, chosen, target)
        for seed in range(self.controls):
            other = torch.randperm(len(heads), generator=torch.Generator().manual_seed(seed))
            some = [heads[i] for i in other.tolist() if heads[i] not in closed][: len(closed)]
            random[f"{gates} random {seed}"] = remedies.gated(some, soft=not no_ops)
        rows = first_rows(data, self.measured)
        numbers = measured(plan, {"nothing": None, **tried, **random}, above, rows)
        names = ["nothing", *tried, *random]
        place = {name: i for i, name in enumerate(names)}
        left = numbers[:, MEASURES.index("long patches")]
        change = numbers[:, MEASURES.index("change of the output")]

        def beside(name: str, column: torch.Tensor, base: float = 0.0) -> tuple[float, tuple[float, ...]]:
            own = [place[one] for one in random if one.startswith(f"{name} random")]
            return float(column[place[name]] - base), tuple(float(column[i] - base) for i in own)

        gone, others = beside("test-time register", -left, -float(left[0]))
        evidence = [
            Evidence(
                f"share of patches at {probe} that are long no more, of {float(left[0]):.2%}, with {word} as "
                f"test-time register of {self.neurons} neurons (controls: random neurons of such sizes)",
                "intervened",
                gone,
                others,
                unit="of the patches",
            ),
            Evidence(
                f"the output under the test-time register at {word} (controls: the same with random neurons)",
                "intervened",
                *beside("test-time register", change),
                unit="change",
            ),
            Evidence(
                f"the output with {len(closed)} {gates} (controls: as many other heads)",
                "intervened",
                *beside(gates, change),
                unit="change",
            ),
        ]
        return Report(
            title=f"Long patches at {probe}: {histograms[sites.index(probe)].share_above(above):.2%}",
            about=f"{how} The {len(chosen)} neurons that speak most at them are of blocks "
            f"{min(chosen)[0]} to {max(chosen)[0]}; the register is {word}.",
            tables={
                "lengths": lengths_table(plan, sites, histograms, special, above),
                "neurons": neurons_table(found, chosen),
                "heads": {
                    "site": [str(head) for head in heads],
                    "block": torch.tensor([blocks.index(head.place) for head in heads]),
                    "head": torch.tensor([int(head.heads) for head in heads]),
                    "no-op": quiet.float(),
                    "on the sink": mass.float(),
                },
                "remedies": {
                    "remedy": names,
                    "control": ["control" if name in random else "remedy" for name in names],
                    **{measure: numbers[:, i] for i, measure in enumerate(MEASURES)},
                },
                "maps": self._maps(plan, first_rows(rows, 4), tried["test-time register"]),
            },
            plots=plots(str(probe)),
            interventions={
                name: made_on(model, edits, f"{name}, found at {probe}") for name, edits in tried.items()
            },
            evidence=tuple(evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Lengths, neurons, heads, and each remedy twice on some."""
        return 3 * len(data) + min(len(data), self.measured) * 2.25 * (9 + 3 * self.controls)

    def _above(self, lengths: Lengths) -> tuple[float, str]:
        """The length that is too long, and how it was found."""
        if self.above is not None:
            return float(self.above), f"Long is what exceeds {self.above:g}, as asked."
        valley = lengths.valley()
        if valley is not None and valley.bimodal:
            low, high = valley.peaks
            said = f"Lengths have two modes, {low:.3g} and {high:.3g}, and a valley {valley.depth:.0%} deep"
            return valley.at, f"{said} at {valley.at:.3g}."
        above = lengths.quantile(TAIL)
        return above, (
            f"Lengths have one mode, so there are no high-norm patches as in large models; the longest "
            f"{1 - TAIL:.0%}, above {above:.3g}, stand in."
        )

    def _target(self, plan: Plan) -> tuple[int, str]:
        """The token that becomes the register, and what it is called."""
        groups = plan.tokens.groups
        if self.token is not None:
            if self.token >= plan.tokens.count:
                raise SteerlabError(
                    f"Registers: token={self.token}, and there are {plan.tokens.count} tokens"
                )
            return self.token, f"token {self.token}"
        for name, word in (("registers", "the first register"), ("cls", "the class token")):
            if name in groups:
                return groups[name][0], word
        raise SteerlabError(
            "Registers: the model has no class token and no registers; say which token: token=0"
        )

    def _remedies(
        self, plan: Plan, found: Neurons, chosen: remedies.Chosen, above: float, target: int
    ) -> dict[str, Edits]:
        tried = {
            "test-time register": remedies.into_token(plan, chosen, target),
            "test-time register, means elsewhere": remedies.into_token(plan, chosen, target, found),
            "register neurons silenced": remedies.silenced(plan, chosen, found),
            **remedies.shortened(plan, found, above),
        }
        for group in ("registers", "cls"):
            if group in plan.tokens.groups:
                mean, zero = remedies.overwritten(plan, found, group)
                return tried | {f"{group} their means": mean, f"{group} zero": zero}
        return tried

    def _controls(self, plan: Plan, found: Neurons, chosen: remedies.Chosen, target: int) -> dict[str, Edits]:
        seeds = {seed: remedies.similar_neurons(found, chosen, seed) for seed in range(self.controls)}
        return {
            f"test-time register random {seed}": remedies.into_token(plan, other, target)
            for seed, other in seeds.items()
        }

    def _maps(self, plan: Plan, rows: Any, register: Edits) -> dict[str, Any]:
        """Lengths at the probe over the patches, as they are and under the test-time register."""
        before = plan.model.capture(rows, plan.probe).grid(plan.probe).float().norm(dim=-1).cpu()
        with plan.model.edit(register, strict=False):
            after = plan.model.capture(rows, plan.probe).grid(plan.probe).float().norm(dim=-1).cpu()
        images = drawable(pixels_of(plan.model, rows))
        if before.ndim == 4:  # of clips the first frame
            before, after, images = before[:, 0], after[:, 0], images[:, 0]
        return {"image": images, "length": before, "length under test-time register": after}
