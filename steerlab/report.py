"""What an analyzer answers: tables, figures, interventions and the evidence for them, saved as one folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from steerlab.bases.formats.files import Source
from steerlab.comparing import Comparison
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.intervention import Intervention
from steerlab.rewiring import Rewired
from steerlab.store import load_intervention, save_intervention

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JSON, TENSORS, VERSION = "report.json", "report.safetensors", 1
RUNGS = ("observed", "intervened")
Column = torch.Tensor | list
Table = Mapping[str, Column]


@dataclass(frozen=True)
class Evidence:
    """A finding beside what it must exceed.

    Parameters
    ----------
    claim : str
        What was found, in a sentence.
    rung : str
        ``"observed"`` for a statistic, ``"intervened"`` for the effect of a change.
    effect : float
        The size of the finding.
    controls : tuple of float
        The same for matched random controls.
    floor : float, optional
        The same where nothing was changed at all.
    unit : str
        What the numbers are.
    """

    claim: str
    rung: str
    effect: float
    controls: tuple[float, ...] = ()
    floor: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.rung not in RUNGS:
            raise SteerlabError(f"rung={self.rung!r}{nearest(self.rung, RUNGS)} (known: {listing(RUNGS)})")

    def __str__(self) -> str:
        beside = [f"controls {min(self.controls):.3g} to {max(self.controls):.3g}"] if self.controls else []
        beside += [] if self.floor is None else [f"floor {self.floor:.2g}"]
        size = f"{self.effect:.4g} {self.unit}".strip()
        return f"[{self.rung}] {self.claim}: {size}" + (f" ({', '.join(beside)})" if beside else "")


def effect_of(claim: str, found: Comparison) -> Evidence:
    """A comparison's effect, beside its own controls and noise floor."""
    return Evidence(
        claim,
        "intervened",
        float(found.effect.mean()),
        tuple(found.controls.mean(1).tolist()),
        float(found.floor.mean()),
        found.metric,
    )


@dataclass(frozen=True)
class Plot:
    """A figure that can be drawn from a report's tables alone.

    Parameters
    ----------
    kind : str
        One of `steerlab.figures.PLOTS`.
    table : str
        The table it draws.
    title : str
        What it shows.
    options : mapping
        Names of columns and words for axes, as the kind takes them.
    """

    kind: str
    table: str
    title: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """An answer.

    Parameters
    ----------
    title, about : str
        What was asked, and how.
    tables : mapping
        Named tables of named columns: tensors or lists of texts, equally long.
    plots : mapping
        Figures by name, drawn from the tables.
    interventions : mapping
        What follows from the findings, ready to apply, by name: edits for `Model.edit`, and orders of blocks
        and surrogates for `steerlab.rewired`.
    evidence : tuple of Evidence
        The findings.
    receipts : tuple of str
        What every intervention did in the runs.
    """

    title: str
    about: str = ""
    tables: Mapping[str, Table] = field(default_factory=dict)
    plots: Mapping[str, Plot] = field(default_factory=dict)
    interventions: Mapping[str, Intervention | Rewired] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    receipts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, table in self.tables.items():
            lengths = {column: len(values) for column, values in table.items()}
            if len(set(lengths.values())) > 1:
                raise SteerlabError(f"table {name!r}: its columns differ in length: {lengths}")
        slugs = [slug(name) for name in self.interventions]
        if len(set(slugs)) < len(slugs):
            raise SteerlabError(
                f"two interventions would be one file: {listing(sorted(self.interventions), 20)}"
            )
        for name, plot in self.plots.items():
            if plot.table not in self.tables:
                raise SteerlabError(f"figure {name!r} draws a table {plot.table!r} that the report lacks")

    def figures(self) -> dict[str, Figure]:
        """Every figure, drawn from the tables alone."""
        from steerlab.figures.plots import draw

        return {name: draw(plot.kind, self.tables[plot.table], plot) for name, plot in self.plots.items()}

    def save(self, folder: str | Path) -> Path:
        """Write ``report.json``, ``report.safetensors`` and the interventions as ``.steer`` folders."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tensors, tables = {}, {}
        for name, table in self.tables.items():
            tables[name] = {}
            for column, values in table.items():
                if isinstance(values, torch.Tensor):
                    tensors[f"{name}/{column}"] = values.detach().cpu().contiguous().clone()
                tables[name][column] = None if isinstance(values, torch.Tensor) else list(values)
        for name, intervention in self.interventions.items():
            save_intervention(intervention, path / "interventions" / slug(name))
        content = {
            "format": "steerlab report",
            "version": VERSION,
            "title": self.title,
            "about": self.about,
            "tables": tables,
            "plots": {name: asdict(plot) for name, plot in self.plots.items()},
            "interventions": {name: f"{slug(name)}.steer" for name in self.interventions},
            "evidence": [_without_nan(asdict(one)) for one in self.evidence],
            "receipts": list(self.receipts),
        }
        save_file(tensors, path / (TENSORS + ".part"))
        (path / (JSON + ".part")).write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        for name in (TENSORS, JSON):
            (path / (name + ".part")).replace(path / name)
        return path

    @staticmethod
    def load(folder: str | Path) -> Report:
        """Read what `save` wrote; nothing in it is run."""
        source = Source(Path(folder))
        content, tensors = source.json(JSON), source.weights(TENSORS).tensors
        if content.get("format") != "steerlab report" or content.get("version") != VERSION:
            raise SteerlabError(f"{folder}: {JSON} is no report of version {VERSION}")
        try:
            tables = {
                name: {c: tensors[f"{name}/{c}"] if v is None else v for c, v in table.items()}
                for name, table in content["tables"].items()
            }
            plots = {name: Plot(**plot) for name, plot in content["plots"].items()}
            evidence = tuple(Evidence(**_with_nan(one)) for one in content["evidence"])
            names = dict(content["interventions"])
            title, about = str(content["title"]), str(content["about"])
            receipts = tuple(str(one) for one in content["receipts"])
        except (KeyError, TypeError, AttributeError, ValueError) as fault:
            raise SteerlabError(f"{folder}: {JSON} is not what a report holds: {fault!r}") from None
        for name, file in names.items():
            if file != f"{slug(name)}.steer":
                raise SteerlabError(f"{folder}: the intervention {name!r} points at {file!r}")
        return Report(
            title,
            about,
            tables,
            plots,
            {n: load_intervention(source.folder / "interventions" / file) for n, file in names.items()},
            evidence,
            receipts,
        )

    def __str__(self) -> str:
        lines = [self.title, *([self.about] if self.about else []), *(str(one) for one in self.evidence)]
        lines += [f"intervention {name!r}: {one.about}" for name, one in self.interventions.items()]
        return "\n".join(lines)


def slug(name: str) -> str:
    """A name as a file is called: ``"Silence no-op heads"`` is ``silence-no-op-heads``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def _without_nan(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for NaN and infinity: they are written as texts."""

    def one(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return {k: [one(x) for x in v] if isinstance(v, (list, tuple)) else one(v) for k, v in plain.items()}


def _with_nan(plain: Mapping[str, Any]) -> dict[str, Any]:
    read = dict(plain)
    for key in ("effect", "floor"):
        read[key] = None if read.get(key) is None else float(read[key])
    return read | {"controls": tuple(float(x) for x in read.get("controls", ()))}
