"""How pictures are drawn: the settings of every call, and which pixels and places show a concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from steerlab.activations import Activations
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.model import Model
from steerlab.scope import Scope

CHANGED = 0.3  # of the range of a colour channel: what the values of a concept draw differently
INSIDE = 0.9  # a place as covered as this counts as inside


@dataclass(frozen=True)
class Drawing:
    """What all pictures of a question have in common.

    Parameters
    ----------
    steps : int
        Denoising steps.
    guidance : float, optional
        The pipeline's own by default.
    batch : int
        Pictures made at once.
    branch : str
        The branch of the guidance that is read and edited.
    """

    steps: int
    guidance: float | None
    batch: int
    branch: str

    def pictures(
        self, model: Model, prompts: Sequence[str], seeds: Sequence[int], edit: Changes | None = None
    ) -> tuple[torch.Tensor, str]:
        """Pixels ``[picture, 3, row, column]`` in [0, 1], and what the edit did."""
        made = model.generate(list(prompts), edit=edit, seed=list(seeds), progress=False, **self._options())
        return made.tensor(), str(made.receipt)

    def read(
        self, model: Model, prompts: Sequence[str], seeds: Sequence[int], at: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels, and activations ``[step, picture, token, dim]`` of one site."""
        during = Scope(branch=self.branch)
        made = model.generate(
            list(prompts), seed=list(seeds), at=at, during=during, progress=False, **self._options()
        )
        return made.tensor(), _of_one_site(made.activations, at)

    def _options(self) -> dict[str, float | int | None]:
        return {"steps": self.steps, "guidance": self.guidance, "batch": self.batch}


def changed(pixels: torch.Tensor) -> torch.Tensor:
    """Where pictures ``[..., picture, 3, row, column]`` from the same noise differ: ``[..., row, column]``.

    A pixel shows the concept where the prompts of its values draw different colours there: the largest range
    of a channel over the pictures is above 0.3 (our own rule). So an object needs no detector of its own.
    """
    return (pixels.amax(-4) - pixels.amin(-4)).amax(-3) > CHANGED


def coverage(pixels: torch.Tensor, tokens: int) -> torch.Tensor:
    """How much of the place of each token a mask ``[row, column]`` covers: ``[token]`` in [0, 1]."""
    high, wide = pixels.shape[-2:]
    rows = round((tokens * high / wide) ** 0.5)
    if rows * round(tokens / max(1, rows)) != tokens:
        raise SteerlabError(f"{tokens} tokens are no grid over pictures of {high} by {wide}")
    return F.adaptive_avg_pool2d(pixels.float()[None, None], (rows, tokens // rows)).flatten()


def inside(covered: torch.Tensor) -> torch.Tensor:
    """Weights ``[token]`` of sum 1 for covered places; for thin objects the most covered ones."""
    if float(covered.max()) == 0:
        raise SteerlabError("the prompts of all values draw the same picture: nothing shows the concept")
    chosen = (covered >= min(INSIDE, float(covered.max()))).float()
    return chosen / chosen.sum()


def chroma(pixels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Mean distance of the channels, 0 for grey, over the pixels `where`: ``[picture]``."""
    colourful = pixels.amax(-3) - pixels.amin(-3)
    return (colourful * where).sum((-2, -1)) / where.sum((-2, -1)).clamp_min(1)


def _of_one_site(acts: Activations, at: str) -> torch.Tensor:
    if len(acts.tensors) != 1:
        raise SteerlabError(f"{at} are {len(acts.tensors)} sites; a manifold is fitted at one")
    (site,) = acts.tensors
    if acts.axes[site][1:] != ("batch", "token", "dim"):
        raise SteerlabError(
            f"{at} has axes {', '.join(acts.axes[site])}; a manifold needs tokens of a picture"
        )
    return acts.tensors[site]
