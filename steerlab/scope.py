"""On which entries, when and how strongly an edit acts, as weights in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from steerlab.choices import index_mask
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.grids import at_count
from steerlab.moment import Moment
from steerlab.spoken import Condition
from steerlab.steps import StepChoice, Strength, checked_steps, checked_strength, is_chosen, strength_at
from steerlab.tokens import TokenChoice, TokenMap


@dataclass(frozen=True, eq=False)
class Scope:
    """Entries and times, as weights: 0 leaves an entry as it is, 1 edits it, between interpolates.

    All choices are combined by *and*; what is not given does not restrict.

    Parameters
    ----------
    tokens, exclude : str, int, slice, list or boolean mask
        Tokens to edit and tokens to leave: ``"last"``, ``"cls"``, ``"patches"``, ``"special"``,
        ``"word:Monday"``, ``"prompt"``, ``"generated[0:8]"``, indices among a row's real tokens (negative
        ones from the end of the prompt), or a mask ``[batch, token]``. At ``scores`` and ``pattern`` these
        are the queries. While a model generates, ``"last"`` is what each step predicts from: the last token
        of the prompt and every generated one.
    keys : the same
        Keys, at ``scores`` and ``pattern``.
    rows, heads : int, slice, list or boolean mask
        Rows of the batch (in a pipeline: images, whatever branches the batch holds); heads, at sites that
        have them.
    patches, frames
        ``(row, column)``, a list of them or ``"2:5,3:7"``; frame numbers of a video. Patches without
        frames are tubes.
    region : Tensor
        A mask ``[height, width]`` in [0, 1] in image coordinates, resampled to the grid of the site.
    when : str or callable
        A phrase that the text up to and including the token must hold, or ``text -> bool``; judged for every
        row and token by itself.
    steps : int, slice, list, range or str
        Denoising steps of this run, or a window with both its ends: ``"fraction:0.2:0.7"``,
        ``"sigma:1:7"``, ``"timestep:200:800"``.
    branch : str
        ``"cond"``, ``"uncond"``, ``"both"``, or what else the guidance has (``"perturbed"``, ``"image"``).
    strength : float, Ramp or list of float
        A weight for all chosen entries; over denoising steps it may change.
    """

    tokens: TokenChoice | None = None
    exclude: TokenChoice | None = None
    keys: TokenChoice | None = None
    rows: Any = None
    heads: Any = None
    patches: Any = None
    frames: Any = None
    region: Any = None
    when: Condition | None = None
    steps: StepChoice | None = None
    branch: str | None = None
    strength: Strength = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", checked_strength(self.strength))
        checked_steps(self.steps)
        if not (self.when is None or callable(self.when) or (isinstance(self.when, str) and self.when)):
            raise SteerlabError(
                f"when={self.when!r}: give a phrase or a function from the text to True or False"
            )
        if self.branch is not None and not (isinstance(self.branch, str) and self.branch):
            raise SteerlabError(f"branch={self.branch!r}: give 'cond', 'uncond' or 'both'")

    @property
    def everything(self) -> bool:
        """Whether nothing is restricted."""
        free = self.rows is self.heads is self.steps is self.branch is None
        return free and not self.needs_tokens and self.strength == 1

    @property
    def needs_tokens(self) -> bool:
        """Whether the token map of the run is asked for."""
        by_name = self.tokens is self.exclude is self.keys is self.when is None
        by_place = self.patches is self.frames is self.region is None  # no loop: asked at every fire
        return not (by_name and by_place)

    @property
    def needs_clock(self) -> bool:
        """Whether it matters where the run stands."""
        return self.needs_tokens or self.is_timed

    @property
    def is_timed(self) -> bool:
        """Whether its weights differ between steps or branches."""
        steady = isinstance(self.strength, (int, float))
        return self.steps is not None or self.branch is not None or not steady

    def strength_at(self, moment: Moment) -> float:
        """The weight of all chosen entries at this moment; 0 where it is not the time."""
        if self.steps is not None and not is_chosen(self.steps, moment.the_step(f"steps={self.steps!r}")):
            return 0.0
        if self.branch not in (None, "both"):
            branches = moment.the_branches(f"branch={self.branch!r}")
            if self.branch not in branches:
                self._refuse_unheard(branches, moment)
                return 0.0
        if isinstance(self.strength, (int, float)):
            return float(self.strength)
        return strength_at(self.strength, self.steps, moment.the_step(f"strength={self.strength!r}"))

    def _refuse_unheard(self, branches: tuple[str, ...], moment: Moment) -> None:
        """Refuse a branch that no pipeline has; one that this forward lacks may come in another."""
        known = ("cond", "uncond", "both", "perturbed", "image", *branches)
        if self.branch not in known and not self.branch.startswith(("cond", "uncond")):
            raise SteerlabError(
                f"branch={self.branch!r}{nearest(self.branch, known)} (this run has: {listing(branches)})"
            )

    def weights(
        self, shape: torch.Size, axes: tuple[str, ...], moment: Moment, device: torch.device
    ) -> torch.Tensor | None:
        """Weights that broadcast against an activation, or None where nothing is restricted.

        Parameters
        ----------
        shape : torch.Size
            Shape of the activation.
        axes : tuple of str
            Its axes, such as ``("batch", "token", "head", "dim")``.
        moment : Moment
            What the tokens are and where the run stands.
        device : torch.device
            Where the weights are needed.

        Returns
        -------
        Tensor or None
            Boolean where all weights are 0 or 1, else float32.
        """
        if self.everything:
            return None
        parts = [
            *self._token_parts(shape, axes, moment),
            *self._row_parts(shape, axes, moment),
            *([_entries(self.heads, "head", "head", shape, axes)] if self.heads is not None else []),
        ]
        strength = self.strength_at(moment)
        weight = torch.ones((1,) * len(shape), dtype=torch.bool, device=device)
        for part in parts:
            part = part.to(device)
            both = weight.dtype == torch.bool and part.dtype == torch.bool
            weight = weight & part if both else weight.float() * part.float()
        return weight if strength == 1 else weight.float() * strength

    def _row_parts(self, shape, axes, moment) -> list[torch.Tensor]:
        """Rows by number and by branch; a batch that holds branches has the images of each in turn."""
        parts, branches = [], moment.branches or ()
        if self.rows is not None:
            if moment.denoises:  # there,, how rows are images must be known
                moment.the_branches(f"rows={_shown(self.rows)}")
            if len(branches) < 2:
                parts.append(_entries(self.rows, "batch", "row", shape, axes))
            else:
                along = _axis_of("batch", axes, f"rows={_shown(self.rows)}")
                images = index_mask(self.rows, shape[along] // len(branches), "row").repeat(len(branches))
                parts.append(_along(images, along, shape))
        if self.branch not in (None, "both") and len(branches) > 1:
            along = _axis_of("batch", axes, f"branch={self.branch!r}")
            mine = torch.tensor([branch == self.branch for branch in branches])
            parts.append(_along(mine.repeat_interleave(shape[along] // len(branches)), along, shape))
        return parts

    def _token_parts(self, shape, axes, moment) -> list[torch.Tensor]:
        if not self.needs_tokens:
            return []
        axis = "query" if "query" in axes else "token"
        parts = []
        query_like = {"tokens": self.tokens, "exclude": self.exclude, "keys": self.keys}
        for name, choice in query_like.items():
            if choice is None:
                continue
            along = _axis_of("key" if name == "keys" else axis, axes, f"{name}={_shown(choice)}")
            token_map = _map_for(moment, shape, along)
            chosen = token_map.select(choice)
            if name == "exclude":  # padding is not chosen either way
                chosen = token_map.select("all").to(chosen.device) & ~chosen
            parts.append(_spread(chosen, shape, axes, along))
        if self.when is not None:
            along = _axis_of(axis, axes, f"when={self.when!r}")
            parts.append(_spread(_map_for(moment, shape, along).meeting(self.when), shape, axes, along))
        if any(part is not None for part in (self.patches, self.frames, self.region)):
            along = _axis_of(axis, axes, "a choice of patches")
            tokens = _map_for(moment, shape, along)
            if self.patches is not None or self.frames is not None:
                parts.append(_spread(tokens.patches(self.patches, self.frames), shape, axes, along))
            if self.region is not None:
                parts.append(_spread(tokens.region(self.region), shape, axes, along))
        return parts

    def __str__(self) -> str:
        names = [f.name for f in fields(self) if f.name != "strength"]
        given = [f"{name}={_shown(getattr(self, name))}" for name in names if getattr(self, name) is not None]
        if isinstance(self.strength, (int, float)) and self.strength != 1:
            given.append(f"strength={self.strength:g}")
        elif not isinstance(self.strength, (int, float)):
            given.append(f"strength={self.strength!r}")
        return ", ".join(given)


def _shown(choice: Any) -> str:
    if isinstance(choice, torch.Tensor):
        return f"tensor{list(choice.shape)}"
    return getattr(choice, "__name__", repr(choice)) if callable(choice) else repr(choice)


def _entries(choice: Any, axis: str, kind: str, shape: torch.Size, axes: tuple[str, ...]) -> torch.Tensor:
    """Boolean mask of some entries of one axis, viewed so that it broadcasts."""
    along = _axis_of(axis, axes, f"{kind}s={_shown(choice)}")
    return _along(index_mask(choice, shape[along], kind), along, shape)


def _along(mask: torch.Tensor, axis: int, shape: torch.Size) -> torch.Tensor:
    """A mask of one axis, viewed so that it broadcasts."""
    view = [1] * len(shape)
    view[axis] = len(mask)
    return mask.view(view)


def _axis_of(axis: str, axes: tuple[str, ...], what: str) -> int:
    if axis not in axes:
        raise SteerlabError(f"{what}: this site has no {axis} axis, only {', '.join(axes)}")
    return axes.index(axis)


def _map_for(moment: Moment, shape: torch.Size, along: int) -> TokenMap:
    """The token map, checked against the number of tokens at the site."""
    tokens = moment.tokens
    if tokens is None:
        return TokenMap(shape[along], without_grid="the family of this model does not describe its tokens")
    if tokens.count != shape[along]:
        scaled = at_count(tokens, shape[along])
        if scaled is None:
            raise SteerlabError(
                f"the site has {shape[along]} tokens where the inputs have {tokens.count}; "
                "choose tokens at a site whose tokens are those of the inputs"
            )
        return scaled
    return tokens


def _spread(chosen: torch.Tensor, shape, axes: tuple[str, ...], along: int) -> torch.Tensor:
    """View ``[batch or 1, token]`` so that it broadcasts against an activation."""
    view = [1] * len(shape)
    view[along] = chosen.shape[1]
    if chosen.shape[0] > 1:
        if "batch" not in axes or chosen.shape[0] != shape[0]:
            raise SteerlabError(
                f"a token mask for {chosen.shape[0]} rows does not fit an activation of shape {list(shape)}"
            )
        view[0] = chosen.shape[0]
    return chosen.reshape(view)
