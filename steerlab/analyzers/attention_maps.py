"""AttentionMaps: where in a video the heads look from what moves, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.heads import block_of
from steerlab.analyzers.seen import drawable, pixels_of
from steerlab.analyzers.settings import check_whole
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report, effect_of
from steerlab.sites import Site
from steerlab.store import made_on

MOVING = 0.5  # of the largest change of a frame: what changes at least as much counts as moving


@dataclass(frozen=True)
class AttentionMaps(Analyzer):
    """Attention of every head from the tube that moves most in the middle frame to the tubes of all frames.

    How much a tube moves is the mean distance of its pixels from their median over time. A head follows the
    motion where it puts more of its attention on moving tubes, those with at least half the largest distance
    of their frame, than there would be on as many tubes elsewhere: the same tubes shifted about the frame.
    All of this is our own definition. The head that follows most is then silenced.

    Parameters
    ----------
    at : str
        Patterns of a video model, wildcards included.
    strongest : int
        How many heads are drawn.
    controls : int
        Shifts of the moving tubes, and random changes beside the silenced head.
    clip : int
        Which clip is drawn.
    """

    at: str = "blocks.*.pattern"
    strongest: int = 3
    controls: int = 4
    clip: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "strongest", "controls")
        check_whole(self, "clip", least=0)

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: a row a head over all clips, and the maps of the strongest heads on one clip."""
        acts = model.capture(data, at=self.at)
        pixels = pixels_of(model, data)
        if pixels.ndim != 5:
            raise SteerlabError("AttentionMaps is for videos; these inputs are single pictures")
        if self.clip >= len(pixels):
            raise SteerlabError(f"AttentionMaps: clip={self.clip}, and there are {len(pixels)}, from 0 on")
        looks = {site: _looks(acts, site, pixels) for site in acts}
        motion = motion_of(pixels, next(iter(looks.values())).shape[2:])
        moving = motion >= MOVING * motion.amax((2, 3), keepdim=True)
        heads, rows = [], []
        for site, maps in looks.items():
            parsed = Site.parse(site)
            for head in range(maps.shape[1]):
                heads.append(Site(parsed.place, "heads", str(head)))
                rows.append([_share(maps[:, head], one) for one in self._shifted(moving)])
        shares = torch.tensor(rows)
        middle = motion.shape[1] // 2
        away = torch.cat([1 - maps[:, :, middle].sum((2, 3)).mean(0) for maps in looks.values()])
        order = (shares[:, 0] - shares[:, 1:].mean(1)).argsort(descending=True).tolist()
        best = heads[order[0]]
        found = model.compare(data, {best: Zero()}, controls=self.controls)
        flat = torch.cat([maps[self.clip] for maps in looks.values()])
        drawn = {str(heads[i]): flat[i] for i in order[: self.strongest]}
        step = max(1, pixels.shape[1] // motion.shape[1])
        frames = drawable(pixels)[self.clip, ::step][: motion.shape[1]]
        return Report(
            title=f"Where {len(heads)} heads look from what moves",
            about="Attention from the tube that moves most in the middle frame, over all clips.",
            tables={
                "heads": {
                    "site": [str(head) for head in heads],
                    "block": torch.tensor([block_of(head.place) for head in heads]),
                    "head": torch.tensor([int(head.heads) for head in heads]),
                    "on what moves": shares[:, 0],
                    "elsewhere": shares[:, 1:].mean(1),
                    "in other frames": away,
                },
                "maps": {"frame": torch.arange(len(frames)) * step, "image": frames, **drawn},
            },
            plots={
                "heads": Plot(
                    "head grid",
                    "heads",
                    "attention on what moves, from what moves",
                    {"value": "on what moves", "label": "share of the attention"},
                ),
                "maps": Plot(
                    "frames",
                    "maps",
                    f"attention from what moves in frame {middle * step} of clip {self.clip}",
                    {"maps": ",".join(drawn), "columns": "frame", "x label": "frame", "label": "attention"},
                ),
            },
            interventions={"silence the head": made_on(model, {best: Zero()}, f"{best} set to zero")},
            evidence=(
                Evidence(
                    f"{best} looks at what moves (controls: the same tubes shifted about the frame)",
                    "observed",
                    float(shares[order[0], 0]),
                    tuple(shares[order[0], 1:].tolist()),
                    unit="of its attention",
                ),
                effect_of(f"silencing {best} (controls: random changes of the same size)", found),
            ),
            receipts=(str(found.receipt),),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The patterns, and the comparison."""
        return len(data) * (3 + self.controls)

    def _shifted(self, moving: torch.Tensor) -> list[torch.Tensor]:
        """The tubes as they are, then shifted along rows and columns, far first."""
        height, width = moving.shape[2:]
        shifts = [(r, c) for r in range(height) for c in range(width) if r or c]
        shifts.sort(key=lambda s: -min(s[0], height - s[0]) - min(s[1], width - s[1]))
        return [moving, *(moving.roll(shift, (2, 3)) for shift in shifts[: self.controls])]


def motion_of(pixels: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """How far pixels are from their median over time, a mean over every tube.

    Parameters
    ----------
    pixels : Tensor
        ``[clip, frame, colour, row, column]``.
    grid : tuple of int
        Tubes along frames, rows and columns; the result is ``[clip, *grid]``.
    """
    far = (pixels - pixels.median(dim=1, keepdim=True).values).abs().mean(2)
    return torch.nn.functional.adaptive_avg_pool3d(far[:, None], tuple(grid))[:, 0]


def _looks(acts: Activations, site: str, pixels: torch.Tensor) -> torch.Tensor:
    """Attention from the tube that moves most in the middle frame, ``[clip, head, frame, row, column]``."""
    tokens, pattern = acts.map_of(site), acts[site].float().cpu()
    if pattern.ndim != 4:
        raise SteerlabError(f"{site} is no pattern of all heads; write at='blocks.*.pattern'")
    grid = tokens.patch_grid()
    start, stop = tokens.groups.get("patches", (0, tokens.count))
    places = tokens.along_tokens(torch.arange(stop - start).view(grid))  # the place of each token on the grid
    middle, motion = grid[0] // 2, motion_of(pixels, grid)
    query = middle * grid[1] * grid[2] + motion[:, middle].flatten(1).argmax(1)
    token = start + places.argsort()[query]
    keys = pattern[torch.arange(len(query)), :, token, start:stop]
    return keys[..., places.argsort()].unflatten(-1, grid)


def _share(maps: torch.Tensor, on: torch.Tensor) -> float:
    """The mean over clips of the attention on some tubes, ``[clip, frame, row, column]`` each."""
    return float((maps * on).sum((1, 2, 3)).mean())
