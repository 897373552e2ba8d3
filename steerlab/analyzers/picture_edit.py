"""PictureEdit: pictures before and after an intervention, beside random changes of the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.comparing import can_be_controlled, controlled
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.intervention import Changes, listed
from steerlab.keeping import kept, kept_texts
from steerlab.metrics import relative_change
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report
from steerlab.store import made_on
from steerlab.zoo.checker import QUESTIONS, judge


@dataclass(frozen=True)
class PictureEdit(Analyzer):
    """Draw prompts with and without an intervention, from the same noise.

    The data are prompts, each of which is drawn from each seed. The controls are random changes that are at
    every entry as long as the intervention's own (`steerlab.RandomControl`). Where the pictures are those of
    the embedded models, a checker that saw renderings alone says what it sees.

    Parameters
    ----------
    edit : mapping
        Sites and edits: in a recipe the table ``[analyzer.edit]``, or ``"$name"`` of a `LoadIntervention`.
    seeds : list of int
        The noise of the pictures of a prompt.
    steps : int, optional
        Denoising steps; the pipeline's own by default.
    guidance : float, optional
        Strength of the guidance; the pipeline's own by default.
    controls : int
        Random changes; masks, whose size is infinite, have none.
    question : str, optional
        What the checker is asked of pictures of 64 by 64 pixels: colour, shape, size, place, count.
    batch : int
        Pictures made at once.
    shown : int
        Pictures of each row in the figure.
    """

    edit: Any
    seeds: Sequence[int] = (0, 1)
    steps: int | None = None
    guidance: float | None = None
    controls: int = 2
    question: str | None = None
    batch: int = 8
    shown: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.edit, Mapping):
            raise SteerlabError(f"PictureEdit: edit={self.edit!r} is not a table of sites and edits")
        listed(self.edit)
        check_whole(self, "controls", "batch", "shown", *(["steps"] if self.steps is not None else []))
        seeds = self.seeds if isinstance(self.seeds, (list, tuple)) else []
        if not seeds or not all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds):
            raise SteerlabError(f"PictureEdit: seeds={self.seeds!r}; give a list of whole numbers from 0 on")
        if self.guidance is not None and not is_number(self.guidance):
            raise SteerlabError(f"PictureEdit: guidance={self.guidance!r} is not a number")
        if self.question is not None and self.question not in QUESTIONS:
            near = nearest(str(self.question), QUESTIONS)
            raise SteerlabError(
                f"PictureEdit: question={self.question!r}{near} (known: {listing(QUESTIONS)})"
            )

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: the pictures, and for each of them how much it changed and what the checker sees."""
        asked = [data] if isinstance(data, str) else list(data)
        prompts = [prompt for prompt in asked for _ in self.seeds]
        seeds = [seed for _ in asked for seed in self.seeds]

        receipts: list[str] = []

        def draw(edit: Changes | None, batch: int = self.batch) -> torch.Tensor:
            drawn = []
            for start in range(0, len(seeds), batch):
                part = slice(start, start + batch)
                pixels, receipt = self._part(model, prompts[part], seeds[part], edit)
                drawn.append(pixels)
                receipts.extend([receipt] if edit is self.edit else [])
            return torch.cat(drawn)

        many = range(self.controls if can_be_controlled(self.edit) else 0)
        pixels = {"before": draw(None), "after": draw(self.edit)}
        pixels |= {f"random {i}": draw(controlled(self.edit, i)) for i in many}
        again = draw(None, max(1, self.batch // 2))  # another batch rounds differently: the floor
        base = pixels["before"]
        others = {name: tensor for name, tensor in pixels.items() if name != "before"}
        table = {"prompt": prompts, "seed": torch.tensor(seeds)}
        table |= {f"change {name}": relative_change(base, tensor).float() for name, tensor in others.items()}
        if self.question is None:
            effects = [float(table[f"change {name}"].mean()) for name in others]
            floor, unit = float(relative_change(base, again).mean()), "relative change of the pixels"
            claim = "the intervention changes the pictures"
        else:
            seen = {name: judge(tensor).names(self.question) for name, tensor in pixels.items()}
            table |= {f"{self.question} {name}": answers for name, answers in seen.items()}
            effects = [_changed(seen["before"], seen[name]) for name in others]
            floor, unit = _changed(seen["before"], judge(again).names(self.question)), "of the pictures"
            claim = f"the checker sees another {self.question} after the intervention"
        return Report(
            title=f"{len(prompts)} pictures before and after",
            about="The same prompts from the same noise; random changes are as long as the edit's own.",
            tables={"pictures": self._drawn(pixels, seeds), "changes": table},
            plots={"pictures": Plot("pictures", "pictures", "Before and after", {"changes": "after"})},
            interventions={"the edit": made_on(model, self.edit, f"as tried on {listing(asked, 3)}")},
            evidence=(
                Evidence(
                    f"{claim} (controls: random changes of the same size)",
                    "intervened",
                    effects[0],
                    tuple(effects[1:]),
                    floor,
                    unit,
                ),
            ),
            receipts=tuple(receipts),
        )

    def passes(self, model: Model, data: Any) -> float | None:
        """Base, edit, controls and the floor, at every step; unknown where the pipeline chooses the steps."""
        if self.steps is None:
            return None
        prompts = 1 if isinstance(data, str) else len(data)
        return prompts * len(self.seeds) * (3 + self.controls) * self.steps

    def _part(
        self, model: Model, prompts: list[str], seeds: list[int], edit: Changes | None
    ) -> tuple[torch.Tensor, str]:
        """One batch: pixels ``[picture, colour, row, column]``, and what the edit did."""
        what, receipt = f"{prompts} from {seeds} under {edit}", ""

        def draw() -> torch.Tensor:
            nonlocal receipt
            how = {"seed": seeds, "steps": self.steps, "guidance": self.guidance, "batch": len(seeds)}
            made = model.generate(prompts, edit=edit, progress=False, **how)
            receipt = str(made.receipt)
            return made.tensor()

        return kept(f"pictures of {what}", draw), kept_texts(f"receipt of {what}", lambda: receipt)

    def _drawn(self, rows: Mapping[str, torch.Tensor], seeds: list[int]) -> dict[str, Any]:
        """The first pictures of every row as bytes, ``[picture, row, column, colour]``."""
        some = {name: (255 * made[: self.shown]).round().byte() for name, made in rows.items()}
        titles = [f"seed {seed}" for seed in seeds[: self.shown]]
        return {"title": titles} | {name: one.movedim(1, -1) for name, one in some.items()}


def _changed(before: list[str], after: list[str]) -> float:
    """The share of answers that differ."""
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)
