"""Factors: what queries and keys exchange in each block, content or position, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.bfd import acting, tables
from steerlab.analyzers.bfd.anchors import anchor
from steerlab.analyzers.bfd.design import count_of, part_of
from steerlab.analyzers.bfd.drawing import drawn_modes, plots
from steerlab.analyzers.bfd.gathering import Gathered, gather
from steerlab.analyzers.bfd.probing import probes
from steerlab.analyzers.bfd.tables import HeadModes
from steerlab.analyzers.heads import block_of
from steerlab.analyzers.settings import check_whole
from steerlab.errors import SteerlabError
from steerlab.intervention import Intervention
from steerlab.model import Model
from steerlab.report import Evidence, Report, effect_of
from steerlab.store import made_on


@dataclass(frozen=True)
class Factors(Analyzer):
    """Bi-orthogonal factor decomposition (arXiv:2601.05328) of the queries and keys of some blocks.

    Queries and keys are split into a mean, a part of the position and content; the energy of the logits then
    falls into four parts, CC, CP, PC and PP (query first), and each head's logits into modes, one number read
    from the query times one read from the key. The paper has no public code: the choices here are our own
    reading of it and its numbers are not claimed. They are: queries and keys as they meet in the attention,
    after any rotation; energies pooled over all pairs of inputs; modes in the basis of the data; the mean
    left out; tokens without a place of their own (class token, registers, the first token of a text) apart;
    shares without the bias of sampling. "Position" is whatever can be told from the position, an average sky
    included.

    Parameters
    ----------
    at : str or list of str
        Queries of blocks, wildcards included.
    batch : int
        Inputs in a forward.
    chunks : int
        Parts of the inputs, left out one at a time for confidence intervals.
    modes : int
        Modes of each head in the table.
    probed : int
        Inputs of the second half that probes of the stream are fitted and scored on; 0 for no probes.
    causal : int
        Inputs on which the parts are switched off.
    controls : int
        Random changes beside each.
    shown : int
        Pictures that are drawn.
    """

    at: str | Sequence[str] = "blocks.*.q"
    batch: int = 4
    chunks: int = 10
    modes: int = 8
    probed: int = 96
    causal: int = 8
    controls: int = 3
    shown: int = 3

    def __post_init__(self) -> None:
        check_whole(self, "batch", "modes", "causal", "controls", "shown")
        check_whole(self, "chunks", least=4)
        check_whole(self, "probed", least=0)
        if 0 < self.probed < 2:
            raise SteerlabError("Factors: probed=1: a probe is fitted on some inputs and scored on others")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables of blocks, the stream, heads, modes, spectra, tokens apart, probes and switches."""
        found = gather(model, data, self.at, batch=self.batch, chunks=self.chunks)
        modes = tables.modes_of(found)
        few = part_of(data, 0, min(self.causal, count_of(data)))
        all_tables = {
            "blocks": tables.blocks(found),
            "stream": tables.stream(found),
            "heads": tables.heads(found, modes),
            "modes": tables.mode_rows(found, modes, self.modes),
            "spectra": tables.spectra(found, modes),
            "causal": acting.causal(model, few, found, controls=self.controls, batch=self.batch),
        }
        if found.layout.design.apart:
            all_tables["apart"] = tables.apart(found)
        if found.layout.before:
            all_tables["before rotation"] = tables.blocks(found, " before")
        if self.probed:
            all_tables["probes"] = probes(model, data, found, images=self.probed, batch=self.batch)
        tower = found.places[0].rpartition("blocks.")[0]
        alone = not tower  # in a tower the embedding is a module of a model with other inputs
        aligned = anchor(model, data, found.layout.design, batch=self.batch) if alone else None
        if aligned is not None:
            all_tables["anchor"] = aligned
        pictures = drawn_modes(model, part_of(data, 0, self.shown), found, modes)
        if pictures is not None:
            all_tables["maps"] = pictures
        interventions, evidence, receipts = self._acted(model, few, found, modes)
        return Report(
            title=f"What queries and keys exchange in {len(found.places)} blocks",
            about=self._about(found, count_of(data), aligned is not None),
            tables=all_tables,
            plots=plots(all_tables),
            interventions=interventions,
            evidence=(*_observed(all_tables), *evidence),
            receipts=receipts,
        )

    def passes(self, model: Model, data: Any) -> float:
        """The moments, the probes, and every switch with its controls."""
        blocks, count = len(model.sites(self.at)), count_of(data)
        switches = blocks * len(acting.SWITCHES) * min(self.causal, count) * (3 + self.controls)
        return 1.1 * count + min(self.probed, count) + switches

    def _about(self, found: Gathered, count: int, anchored: bool) -> str:
        design = found.layout.design
        apart = f"; apart: {', '.join(design.apart)}" if design.apart else ""
        rotated = "; queries and keys are rotated, and were decomposed before it too" * bool(
            found.layout.before
        )
        table = "" if anchored else "; no learned table of positions was found to compare with"
        return f"{count} inputs with {design.positions} positions{apart}{rotated}{table}."

    def _acted(
        self, model: Model, few: Any, found: Gathered, modes: HeadModes
    ) -> tuple[dict[str, Intervention], list[Evidence], tuple[str, ...]]:
        """Interventions at the block where position has the largest part, and at the mode that tells most."""
        place = _positional(found)
        edits = acting.switched(found, place)
        edits["queries mirrored"] = {
            f"{place}.q": acting.recombined(found, f"{place}.q", order=acting.mirrored(found.layout.design))
        }
        where, head, number = acting.telling(found, modes)
        one, site = modes[where, head], f"{where}.q.{head}"
        edits["without the mode that tells most"] = {site: acting.without_modes(one, [number])}
        edits["that mode alone"] = {site: acting.kept_modes(one, [number])}
        made = {name: made_on(model, edit, f"{name}: {', '.join(edit)}") for name, edit in edits.items()}
        kind = one.types()[number]
        tried = {
            "both without position": f"queries and keys at {place} without their position factors",
            "without the mode that tells most": f"without mode {number} of {where}.heads.{head} ({kind})",
        }
        evidence, receipts = [], []
        few = part_of(few, 0, self.batch)
        for name, claim in tried.items():
            seen = model.compare(few, edits[name], controls=self.controls)
            evidence.append(effect_of(f"{claim} (controls: random changes of the same size)", seen))
            receipts.append(str(seen.receipt))
        return made, evidence, tuple(receipts)


def _positional(found: Gathered) -> str:
    """The block where position has the largest part in the energy of the logits."""
    parts = {place: float(1 - tables.block_shares(*found.sides(place))[0]) for place in found.places}
    return max(parts, key=parts.get)


def _observed(all_tables: dict[str, Any]) -> list[Evidence]:
    """The largest part of position, beside that of shuffled positions; and what the probes read."""
    blocks = all_tables["blocks"]
    part = 1 - blocks["CC"]
    top = int(part.argmax())
    found = [
        Evidence(
            f"position takes part in the logits of block {block_of(blocks['site'][top])}, the most of all "
            "(controls: shuffled positions)",
            "observed",
            float(part[top]),
            tuple((1 - blocks["CC shuffled"]).tolist()),
            unit="of the energy of queries times keys",
        )
    ]
    if "probes" in all_tables:
        probes = all_tables["probes"]
        whole = probes["activation"]
        found.append(
            Evidence(
                "a linear probe reads the position from the stream (controls: from its content, each block)",
                "observed",
                float(whole.mean()),
                tuple(probes["content"].tolist()),
                float(probes["chance"][0]),
                "of positions",
            )
        )
    if "anchor" in all_tables:
        cosines = all_tables["anchor"]
        found.append(
            Evidence(
                "the position factor at block 0 points along the learned table, patches shuffled "
                "(control: of pictures as they are)",
                "observed",
                float(cosines["patches shuffled"].mean()),
                (float(cosines["pictures as they are"].mean()),),
                unit="mean cosine",
            )
        )
    return found
