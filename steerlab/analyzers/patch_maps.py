"""PatchMaps: where in pictures the stream is long and an atom fires, and whether those patches matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.seen import drawable, pixels_of
from steerlab.analyzers.settings import check_whole
from steerlab.atoms import atom_map
from steerlab.bases import Dictionary
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Intervention
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report, effect_of
from steerlab.store import made_on


@dataclass(frozen=True)
class PatchMaps(Analyzer):
    """Map the length of the stream at some sites, and the code of one atom, over the patches of pictures.

    Two interventions say whether the maps mean anything: the patches with the longest stream are set to zero
    at the middle one of the sites, beside as many random patches; and the atom is taken away, beside random
    changes of the same size. Both comparisons are our own.

    Parameters
    ----------
    at : str or list of str
        Sites of a vision transformer, wildcards included.
    dictionary : Dictionary, optional
        Usually ``"$name"`` of a `LoadDictionary`.
    atom : int, optional
        Which of its atoms.
    patches : int
        How many patches of each picture are silenced together.
    controls : int
        Random choices beside each finding.
    shown : int
        Pictures that are drawn.
    """

    at: str | Sequence[str] = "blocks.*.resid"
    dictionary: Any = None
    atom: int | None = None
    patches: int = 6
    controls: int = 4
    shown: int = 4

    def __post_init__(self) -> None:
        check_whole(self, "patches", "controls", "shown")
        if (self.dictionary is None) != (self.atom is None):
            raise SteerlabError("PatchMaps: dictionary and atom go together: give both or neither")
        if self.dictionary is not None and not isinstance(self.dictionary, Dictionary):
            raise SteerlabError(f"PatchMaps: dictionary={self.dictionary!r} is not a dictionary")
        if self.atom is not None:
            check_whole(self, "atom", least=0)

    def __call__(self, model: Model, data: Any) -> Report:
        """Table ``maps``: a row a picture, with each map as a column ``[picture, row, column]``."""
        acts = model.capture(data, at=self.at)
        norms = {site: acts.grid(site).float().norm(dim=-1).cpu() for site in acts}
        maps = {f"norm at {site}": grid for site, grid in norms.items()}
        found = self._longest(model, data, acts, list(norms)[len(norms) // 2])
        evidence, receipts, interventions = [found], [], {}
        if self.atom is not None:
            codes = torch.stack([one.codes for one in atom_map(model, self.dictionary, self.atom, data)])
            maps[f"code of atom {self.atom}"] = codes.float().cpu()
            without, one, receipt = self._without(model, data)
            evidence.append(one)
            receipts.append(receipt)
            interventions["take the atom away"] = without
        return Report(
            title=f"Maps of {len(maps)} quantities over the patches",
            about="The length of the stream at each patch"
            + ("." if self.atom is None else f", and the code of atom {self.atom}."),
            tables={
                "maps": {"image": drawable(pixels_of(model, data))[: self.shown]}
                | {name: values[: self.shown] for name, values in maps.items()}
            },
            plots={
                "maps": Plot(
                    "maps", "maps", "Maps over the patches of each picture", {"maps": ",".join(maps)}
                )
            },
            interventions=interventions,
            evidence=tuple(evidence),
            receipts=tuple(receipts),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The maps, and each comparison with its controls."""
        return len(data) * (5 + self.controls + (0 if self.atom is None else 3 + self.controls))

    def _longest(self, model: Model, data: Any, acts: Activations, site: str) -> Evidence:
        """Silence the patches with the longest stream, and as many random ones."""
        grid = acts.grid(site).float().norm(dim=-1).cpu()
        rows, places = len(grid), grid[0].numel()
        if self.patches >= places:
            raise SteerlabError(f"PatchMaps: patches={self.patches}, and a picture has {places}")
        generator = torch.Generator().manual_seed(0)
        chosen = [grid.flatten(1).topk(self.patches).indices]
        chosen += [
            torch.rand(rows, places, generator=generator).topk(self.patches).indices
            for _ in range(self.controls)
        ]
        tokens = acts.map_of(site)
        start, stop = tokens.groups.get("patches", (0, tokens.count))
        edits = []
        for index in chosen:
            on = torch.zeros(rows, places).scatter_(1, index, 1.0).bool().view(grid.shape)
            mask = torch.zeros(rows, tokens.count, dtype=torch.bool)
            mask[:, start:stop] = torch.stack([tokens.along_tokens(one) for one in on])
            edits.append({site: Zero().on(tokens=mask)})
        found = model.compare(data, edits[0], controls=1)
        effects = model.sweep(data, edits, progress=False).mean(1).tolist()
        return Evidence(
            f"silencing the {self.patches} longest patches at {site} (controls: random patches)",
            "intervened",
            effects[0],
            tuple(effects[1:]),
            float(found.floor.mean()),
            found.metric,
        )

    def _without(self, model: Model, data: Any) -> tuple[Intervention, Evidence, str]:
        """Take the atom away."""
        site = str(self.dictionary.site)
        edit = {site: Zero(self.dictionary.only(self.atom))}
        found = model.compare(data, edit, controls=self.controls)
        evidence = effect_of(
            f"taking atom {self.atom} away at {site} (controls: random changes of the same size)", found
        )
        return made_on(model, edit, f"without atom {self.atom}"), evidence, str(found.receipt)
