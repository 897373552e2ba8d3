"""The analyzer of block-sparse featurizers: trained or given, measured, read, and steered along a curve."""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.batches import first_rows
from steerlab.analyzers.blocks.factors import Factor, factor_of
from steerlab.analyzers.blocks.measuring import bits_table, fullness_table, moments_of
from steerlab.analyzers.blocks.sampling import Sample, chosen, gathered
from steerlab.analyzers.blocks.steering import SHARES, Plan, evidence_of_steering, steered, straight_steps
from steerlab.analyzers.blocks.tables import (
    blocks_table,
    geometry_table,
    pictures_table,
    plots_of,
    readers_table,
    steering_table,
)
from steerlab.analyzers.blocks.tuned import direction_of, evidence_of_following, tuned
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.bases import Block, Dictionary, Shape
from steerlab.bases.blocks import block_size
from steerlab.edits import Affine, Edit, Move, Toward, Zero
from steerlab.errors import SteerlabError, nearest
from steerlab.fitting import Fitting, fit_dictionary
from steerlab.fitting.blocks import BLOCK_KINDS
from steerlab.keeping import keeper
from steerlab.model import Model
from steerlab.numerics.tuning import fit_readout
from steerlab.report import Evidence, Report, Table
from steerlab.sites import Site
from steerlab.store import made_on
from steerlab.tokens import TokenChoice


@dataclass(frozen=True, eq=False)
class Asked:
    """One question: the model, its inputs, where, a sample of it, and what is known.

    Parameters
    ----------
    model, data : Model, object
        Who is asked, about what.
    sites : tuple
        Where, and the later site that is read, or None.
    sample : Sample
        Activations of both.
    factor : Factor
        What is known.
    """

    model: Model
    data: Any
    sites: tuple[Site, Site | None]
    sample: Sample
    factor: Factor


@dataclass(frozen=True)
class Blocks(Analyzer):
    """Train a block-sparse featurizer, and ask what its blocks cost, hold and follow.

    After Fel, Kowal et al., Structuring Sparsity: description length beside a dictionary of directions with
    as many active coordinates, how full blocks are, and geometry inside a block. That blocks are ranked by
    how well a plane through their code reads a known quantity, and the read-out by which steering is
    measured, are our own definitions. Inputs of even number are fitted on, those of odd number held out.

    Parameters
    ----------
    at : str
        The site; for pipelines usually an ``update``.
    known : optional
        What is known of every input or patch: inputs such as ``Curves``, or a table of names with
        ``values`` and ``period``.
    factor : str, optional
        Which of it; the first by default.
    readout : str, optional
        A later site with the same tokens, off which steering is read. Without one nothing is steered.
    dictionary : Dictionary, optional
        A block-sparse featurizer to ask about; by default one is trained.
    kind : str
        ``"grassmannian"``, ``"block"`` or ``"group-lasso"``.
    blocks, size, active : int
        Blocks, atoms in each, and blocks an activation.
    steps : int
        Of either training.
    lr : float
        Peak rate of either training.
    distortion : float
        ``1 - R2`` at which bits are counted.
    rows : int
        How many activations are drawn in all; those with a known value come on top.
    tokens : optional
        Tokens that are looked at; patches by default, of texts all but the first.
    steered, controls, batch, seed : int
        Held-out inputs that are steered, random blocks beside it, inputs a forward, and the seed of
        everything random.
    """

    at: str
    known: Any = None
    factor: str | None = None
    readout: str | None = None
    dictionary: Any = None
    kind: str = "grassmannian"
    blocks: int = 64
    size: int = 4
    active: int = 4
    steps: int = 600
    lr: float = 4e-3
    distortion: float = 0.1
    rows: int = 20000
    tokens: TokenChoice | None = None
    steered: int = 8
    controls: int = 3
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "blocks", "size", "active", "steps", "rows", "steered", "controls", "batch")
        check_whole(self, "seed", least=0)
        if self.kind not in BLOCK_KINDS:
            raise SteerlabError(f"Blocks: kind={self.kind!r}{nearest(self.kind, BLOCK_KINDS)}")
        if not is_number(self.distortion) or not 0 < self.distortion < 1:
            raise SteerlabError(f"Blocks: distortion={self.distortion!r} is not a share between 0 and 1")
        if self.dictionary is not None:
            if not isinstance(self.dictionary, Dictionary):
                raise SteerlabError(f"Blocks: dictionary={self.dictionary!r} is no dictionary")
            block_size(self.dictionary)
        if self.readout is not None and self.known is None:
            raise SteerlabError("Blocks: a readout needs known=, by which it is read")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``bits`` and ``fullness``; with a factor ``blocks``, ``readers``, ``geometry``, ..."""
        here = model.site(self.at)
        later = None if self.readout is None else model.site(self.readout)
        factor = self._factor(model, data)
        sample = gathered(model, data, (here, later), factor=factor, ask=self)
        fitting, held_out = sample.halves()
        featurizer, size = self._featurizer(fitting.rows)
        codes = featurizer.encode(held_out.rows[:2048])
        k = max(1, round(float((codes != 0).sum(-1).double().mean())))
        plain = self._trained(fitting.rows, "topk", len(featurizer), k)
        even = held_out.where(held_out.drawn).rows
        names = (f"{len(featurizer) // size} blocks of {size}", f"{len(plain)} directions")
        bits = {
            names[0]: moments_of(featurizer, size, even),
            names[1]: moments_of(plain, 1, even),
        }
        tables = {
            "bits": bits_table(bits, self.distortion, len(fitting.rows)),
            "fullness": fullness_table(bits[names[0]][0]),
        }
        total = tables["bits"]["total"].tolist()
        saved = Evidence(
            f"bits that {names[0]} save, of the {total[1]:.0f} that {names[1]} take",
            "observed",
            total[1] - total[0],
            unit="bits an activation",
        )
        if factor is None:
            strongest = int(tables["fullness"]["block"][tables["fullness"]["energy"].argmax()])
            edits = {f"ablate block {strongest}": Zero(featurizer.block(strongest).part)}
            more, evidence = {}, ()
        else:
            asked = Asked(model, data, (here, later), sample, factor)
            more, edits, evidence = self._followed(asked, featurizer, plain)
        tables |= more
        return Report(
            title=f"Blocks of {self.at}",
            about=f"{featurizer.facts.source or 'A given featurizer'}; {len(fitting.rows)} activations "
            f"fitted on, {len(held_out.rows)} held out.",
            tables=tables,
            plots=plots_of(tables, factor, self.at),
            interventions={
                name: made_on(model, {here: edit}, f"{name}, where its block fires")
                for name, edit in edits.items()
            },
            evidence=(*evidence, saved),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Every input once, and the held-out ones that are steered once an arm and move."""
        arms = 0 if self.readout is None else 1 + len(SHARES) * (3 + self.controls)
        return len(data) + min(self.steered, len(data) // 2) * arms

    def _followed(
        self, asked: Asked, featurizer: Dictionary, plain: Dictionary
    ) -> tuple[dict[str, Table], dict[str, Edit], tuple[Evidence, ...]]:
        """Tables, edits and evidence of the block that follows the factor best."""
        factor, fitting, held_out = asked.factor, *asked.sample.halves()
        size = block_size(featurizer)
        ranked = tuned(featurizer, plain, size, asked.sample, factor=factor, seed=self.seed)
        block = featurizer.block(ranked.best)
        curve, view = self._curve(block, fitting, factor), block.view(fitting.rows)
        tables = {
            "blocks": blocks_table(ranked),
            "readers": readers_table(ranked),
            "geometry": geometry_table(view, curve, held_out, factor),
        }
        few = first_rows(asked.data, 6)
        shown = pictures_table(asked.model, few, view, at=asked.sites[0], tokens=self.tokens)
        tables |= {} if shown is None else {"pictures": shown}
        quarter = 0.25 * (factor.period or 4 * float(fitting.known().values.std()))
        place = curve.chart.knots[0]
        edits = {
            f"move {factor.name} by {quarter:.3g}": Move(curve, quarter),
            f"bring {factor.name} to {float(place[0]):.3g}": Toward(curve, place),
            f"turn block {ranked.best} by a quarter": Affine(view.turn(math.pi / 2), basis=block.part),
            f"ablate block {ranked.best}": Zero(block.part),
        }
        evidence = [evidence_of_following(ranked, factor)]
        if asked.sites[1] is not None:
            single = plain.decoder[direction_of(plain, asked.sample, factor)]
            steps, named = straight_steps((featurizer, size, ranked.best), single, self.controls, self.seed)
            known = fitting.known()
            reading = fit_readout(known.later, known.values, factor.period)
            odd = list(range(1, len(asked.data), 2))[: self.steered]
            plan = Plan(asked.sites, curve, reading, factor.at(odd), steps, named, self.tokens)
            sums = steered(asked.model, chosen(asked.data, odd), plan, self.batch)
            tables["steering"] = steering_table(sums, plan)
            evidence.append(evidence_of_steering(sums, plan))
        return tables, edits, tuple(evidence)

    def _factor(self, model: Model, data: Any) -> Factor | None:
        if self.known is None:
            return None
        factor = factor_of(self.known, self._grid(model, data), self.factor)
        if isinstance(data, Sized) and len(factor.values) != len(data):
            raise SteerlabError(
                f"Blocks: {factor.name} is known of {len(factor.values)} inputs, there are {len(data)}"
            )
        return factor

    def _grid(self, model: Model, data: Any) -> tuple[int, int] | None:
        """Rows and columns of patches, where there are such."""
        here = model.site(self.at)
        acts = model.capture(first_rows(data, 1), here)
        if acts.maps.get(here) is None or "patches" not in acts.map_of(here).groups:
            return None
        return tuple(acts.map_of(here).patch_grid()[-2:])

    def _featurizer(self, rows: torch.Tensor) -> tuple[Dictionary, int]:
        if self.dictionary is not None:
            return self.dictionary, block_size(self.dictionary)
        return self._trained(rows, self.kind, self.blocks * self.size, self.active), self.size

    def _trained(self, rows: torch.Tensor, kind: str, atoms: int, k: int) -> Dictionary:
        """A dictionary; where the run keeps its work, a training goes on from where it was."""
        settings = Fitting(
            k=k, steps=self.steps, batch=512, lr=self.lr, seed=self.seed, block=self.size, auxiliary=None
        )
        mine = keeper()
        place = None if mine is None else mine.folder / f"training-{kind}-{atoms}-{k}"
        return fit_dictionary(rows, atoms, kind=kind, settings=settings, folder=place)

    def _curve(self, block: Block, fitting: Sample, factor: Factor) -> Any:
        known = fitting.known()
        known = known.where(block.presence(known.rows) > 0)
        labels, places = factor.bins(known.values)
        present, labels = labels.unique(return_inverse=True)
        shape = Shape(places[present], periods=(factor.period,))
        return block.curve(known.rows, labels, shape)
