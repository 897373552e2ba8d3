"""Cyclic: the Fourier features of numbers in a language model, and what turning them does to its sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.cyclic.ablating import ablations
from steerlab.analyzers.cyclic.acting import Outcome, arms_of, measured, turn_named
from steerlab.analyzers.cyclic.prompts import NUMBERS, Sums, all_sums, said_as
from steerlab.analyzers.cyclic.reading import activations, likeliest
from steerlab.analyzers.cyclic.tables import (
    accuracy_table,
    edit_plots,
    edit_tables,
    spectrum_plots,
    spectrum_tables,
)
from steerlab.analyzers.settings import check_texts, check_whole, is_number
from steerlab.bases import FourierCode, fourier_probes
from steerlab.edits import Edit, Rotate, ToNumber, Zero
from steerlab.errors import SteerlabError, nearest
from steerlab.intervention import Intervention
from steerlab.model import Model
from steerlab.numerics.fourier import Spectrum, spectrum
from steerlab.report import Evidence, Report
from steerlab.store import made_on


@dataclass(frozen=True)
class Cyclic(Analyzer):
    """Find the periods in which a model holds a number, then steer and turn the number in them.

    Fourier probes, steering and neurons are those of arXiv 2605.01148; turning, the held-out spectrum with
    its null, and leaving out one period at a time are our own definitions. The data are contexts: what stands
    before the template, such as a few solved sums that end with a new line.

    Parameters
    ----------
    template : str
        The question, with ``{a}`` and perhaps ``{b}``: ``"{a} + {b} = "``.
    first, second : list of str
        Words of ``a``, with the numbers 0, 1, 2 ..., and of ``b``.
    start : int
        The number of the first word of ``b``.
    answers : list of str
        Words of the answers 0, 1, 2 ...; without any, the spectrum of ``a`` alone is asked for.
    cycle : bool
        Whether sums beyond the answers go round, as with weekdays; else those pairs are left out.
    number : str
        ``"sum"``, looked at at the last token, or ``"first"``, the number ``a``, at its own last token.
    at : str or list of str
        Scanned sites.
    acted_at : str, optional
        Where the number is edited; by default where the periods stand furthest above their null.
    periods : list of float
        Of the code. Periods that divide another one are determined by it.
    longest : int
        The spectrum is of periods 2, 3 and so on to this.
    components : int
        Principal components to which probes are kept.
    acted : int
        Prompts that are answered rightly and on which edits are tried; the code is fitted to the others.
    targets : int
        Numbers that are steered to, at most.
    turns : list of int
        What is added by turning.
    controls, batch : int
        Random changes beside steering, turning and neurons; prompts that share a forward.
    threshold : float
        Least share of a neuron's output that lies in the code.
    """

    template: str
    first: Sequence[str]
    second: Sequence[str] = ("",)
    start: int = 0
    answers: Sequence[str] = ()
    cycle: bool = False
    number: str = "sum"
    at: str | Sequence[str] = "blocks.*.resid"
    acted_at: str | None = None
    periods: Sequence[float] = (2, 5, 10)
    longest: int = 20
    components: int = 30
    acted: int = 16
    targets: int = 12
    turns: Sequence[int] = (1, 2)
    controls: int = 3
    batch: int = 16
    threshold: float = 0.4

    def __post_init__(self) -> None:
        check_texts(self, "first")
        check_whole(self, "acted", "targets", "controls", "batch", "components")
        check_whole(self, "longest", least=3)
        if not isinstance(self.template, str) or "{a}" not in self.template:
            raise SteerlabError(f"Cyclic: template={self.template!r} holds no {{a}}")
        if ("{b}" in self.template) != (list(self.second) != [""]):
            raise SteerlabError("Cyclic: {b} in the template and words of it in second= go together")
        if self.number not in NUMBERS:
            raise SteerlabError(f"Cyclic: number={self.number!r}{nearest(self.number, NUMBERS)}")
        if self.answers and len(self.answers) < 3:
            raise SteerlabError("Cyclic: answers= needs three or more, or none")
        if not all(isinstance(one, int) and not isinstance(one, bool) and one for one in self.turns):
            raise SteerlabError(f"Cyclic: turns={self.turns!r}; give whole numbers that are not 0")
        some = self.periods if isinstance(self.periods, (list, tuple)) else []
        if not some or not all(is_number(one) and one >= 2 for one in some):
            raise SteerlabError(f"Cyclic: periods={self.periods!r}; give numbers of 2 or more")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``spectra``, ``spectrum``, ``sites``; with answers ``accuracy``, ``edits``, ``parts``."""
        sums = self._sums(data)
        sites = [str(site) for site in model.sites(self.at if isinstance(self.at, str) else list(self.at))]
        x = activations(model, sums, sites, self.batch)
        spectra = self._spectra(sites, x, sums)
        best = self._chosen(model, spectra)
        tables = spectrum_tables(spectra, best, self.periods)
        plots = spectrum_plots(best, self.periods, len(sites))
        evidence = [self._seen(spectra[best], best)]
        here = x[sites.index(best)]
        if not self.answers:
            code = self._code(here, sums, best)
            return self._report(
                sums, best, tables, plots, evidence, self._offers(model, best, code, sums, [])
            )
        outcomes = said_as(model, list(self.answers))
        said = likeliest(model, sums, outcomes, self.batch)
        correct = said == sums.answers
        tables["accuracy"] = accuracy_table(sums.numbers, correct)
        share = float(correct.double().mean())
        claim = f"sums answered rightly, of {len(sums)} prompts"
        evidence.insert(0, Evidence(claim, "observed", share, floor=1 / len(self.answers), unit="share"))
        acted = self._acted(correct, sums.numbers)
        rest = [i for i in range(len(sums)) if i not in set(acted)]
        code = self._code(here[rest], sums.only(rest), best)
        found, offers = self._edits(model, best, code, (sums, acted, here))
        tables |= edit_tables(found)
        plots |= edit_plots()
        evidence += [
            Evidence(
                f"{name} at {best} gives the wanted answer (controls: random changes of the same length)",
                "intervened",
                found[name].success,
                found[name].controls,
                0.0,
                "share",
            )
            for name in found
            if found[name].controls
        ]
        asked = sums.only(acted)
        extra = ablations(model, best, code, asked, outcomes, (self.threshold, self.controls))
        if extra is not None:
            tables |= extra.tables
            plots |= extra.plots
            evidence.append(extra.evidence)
            offers |= extra.interventions
        return self._report(sums, best, tables, plots, evidence, offers)

    def passes(self, model: Model, data: Any) -> float:
        """Every prompt once, and the edits, each of which runs but a token or a few."""
        count = len(self._sums(data))
        arms = 6 + len(self.periods) + (len(self.turns) + 1) * self.controls
        return count * (2 if self.answers else 1) + (self.acted * arms * 0.2 if self.answers else 0)

    def _sums(self, data: Any) -> Sums:
        contexts = [data] if isinstance(data, str) else list(data)
        if not contexts or not all(isinstance(one, str) for one in contexts):
            raise SteerlabError("Cyclic: the data are contexts, texts that stand before the template")
        words = (list(self.first), list(self.second))
        answers = (len(self.answers), self.cycle, self.number)
        return all_sums(contexts, self.template, words, start=self.start, answers=answers)

    def _spectra(self, sites: list[str], x: torch.Tensor, sums: Sums) -> dict[str, Spectrum]:
        lines = sorted({*range(2, self.longest + 1), *self.periods})
        settings = {"components": self.components, "shuffles": self.controls}
        try:
            return {
                site: spectrum(one, sums.numbers, lines, **settings)
                for site, one in zip(tqdm(sites, desc="spectra", disable=None, leave=False), x, strict=True)
            }
        except ValueError as fault:
            raise SteerlabError(f"Cyclic: {fault}") from None

    def _chosen(self, model: Model, spectra: dict[str, Spectrum]) -> str:
        """The scanned site that is asked for, or where the periods stand furthest above their null."""
        if self.acted_at is not None:
            site = str(model.site(self.acted_at))
            if site not in spectra:
                raise SteerlabError(f"Cyclic: acted_at={site} is not among the scanned sites")
            return site
        return max(spectra, key=lambda site: float(self._excess(spectra[site]).mean()))

    def _excess(self, one: Spectrum) -> torch.Tensor:
        at = [one.periods.index(period) for period in self.periods]
        return (one.share - one.null.amax(0))[at]

    def _seen(self, one: Spectrum, best: str) -> Evidence:
        at = [one.periods.index(period) for period in self.periods]
        named = ", ".join(f"{period:.3g}" for period in self.periods)
        return Evidence(
            f"periods {named} at {best} in numbers that were held out (controls: numbers shuffled)",
            "observed",
            float(one.share[at].mean()),
            tuple(one.null[:, at].mean(1).tolist()),
            0.0,
            "mean R²",
        )

    def _code(self, x: torch.Tensor, sums: Sums, site: str) -> FourierCode:
        return fourier_probes(x, sums.numbers, self.periods, components=self.components, site=site)

    def _acted(self, correct: torch.Tensor, numbers: torch.Tensor) -> list[int]:
        """Prompts that are answered rightly; of every number one is left for the fit."""
        right = correct.nonzero()[:, 0]
        if len(right) < 2:
            raise SteerlabError(
                f"Cyclic: the model answers {len(right)} of {len(correct)} prompts rightly, so nothing "
                "can be steered; give contexts with solved examples, or ask without answers"
            )
        order = torch.randperm(len(right), generator=torch.Generator().manual_seed(0))
        most = min(self.acted, max(1, len(right) // 2))
        left = Counter(numbers.tolist())
        acted: list[int] = []
        for row in right[order].tolist():
            if len(acted) < most and left[int(numbers[row])] > 1:
                left[int(numbers[row])] -= 1
                acted.append(row)
        return acted or right[order[:1]].tolist()

    def _edits(
        self, model: Model, site: str, code: FourierCode, asked: tuple[Sums, list[int], torch.Tensor]
    ) -> tuple[dict[str, Outcome], dict[str, Intervention]]:
        """What every edit did, and interventions."""
        sums, acted, x = asked
        mine = sums.only(acted)
        numbers = sums.numbers.unique().tolist()
        targets = torch.tensor(numbers[:: max(1, -(-len(numbers) // self.targets))])
        rest = [i for i in range(len(sums)) if i not in set(acted)]
        lookup = {int(sums.numbers[i]): i for i in rest}
        targets = torch.tensor([n for n in targets.tolist() if n in lookup])
        sources = x[[lookup[n] for n in targets.tolist()]]
        answers = mine.asked(model, site, said_as(model, list(self.answers)))
        about = f"Cyclic {self}"
        arms = arms_of(code, mine, targets, self.turns, sources)
        found = {
            arm.name: measured(arm, (answers, mine), x=x[acted], controls=self.controls, about=about)
            for arm in tqdm(arms, desc="edits", disable=None, leave=False)
        }
        behind = sorted({len(one.ids) - one.place for one in answers.prompts})
        return found, self._offers(model, site, code, sums, behind)

    def _offers(
        self, model: Model, site: str, code: FourierCode, sums: Sums, behind: list[int]
    ) -> dict[str, Intervention]:
        """Turning, steering and erasing, at the token where the number was looked at."""
        where = -behind[0] if len(behind) == 1 else "last"
        target = int(sums.numbers.max())
        edits: dict[str, Edit] = {turn_named(by): Rotate(code, by) for by in self.turns}
        edits[f"steer to {target}"] = ToNumber(code, target)
        edits |= {f"erase period {t:.3g}": Zero(code.only([t])) for t in code.periods}
        told = f"the number at {site} in periods {', '.join(f'{t:.3g}' for t in code.periods)}"
        return {
            name: made_on(model, {site: edit.on(tokens=where)}, f"{name}: {told}")
            for name, edit in edits.items()
        }

    def _report(self, sums, best, tables, plots, evidence, offers) -> Report:
        what = "the first number" if self.number == "first" else "the sum"
        return Report(
            title=f"Fourier features of numbers at {best}",
            about=f"{what} of {self.template!r}, {len(sums)} prompts over "
            f"{len(sums.numbers.unique())} numbers; probes see other numbers than they are judged on.",
            tables=tables,
            plots=plots,
            interventions=offers,
            evidence=tuple(evidence),
        )
