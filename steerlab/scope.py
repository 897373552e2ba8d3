"""On which entries, when and how strongly an edit acts, as weights in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch

from steerlab.errors import SteerlabError
from steerlab.tokens import TokenChoice, TokenMap, index_mask


@dataclass(frozen=True)
class Moment:
    """Where a run stands when a site fires: the clock's answer to a scope.

    Parameters
    ----------
    tokens : TokenMap, optional
        What the tokens of this forward are.
    forward : int
        Which forward of the run this is, from 0.
    step : int, optional
        Denoising step, where there is one.
    branch : str, optional
        Guidance branch of the rows, where there is one.
    """

    tokens: TokenMap | None = None
    forward: int = 0
    step: int | None = None
    branch: str | None = None


@dataclass(frozen=True, eq=False)
class Scope:
    """Entries and times, as weights: 0 leaves an entry as it is, 1 edits it, between interpolates.

    All choices are combined by *and*; what is not given does not restrict.

    Parameters
    ----------
    tokens, exclude : str, int, slice, list or boolean mask
        Tokens to edit and tokens to leave: ``"last"``, ``"cls"``, ``"patches"``, ``"special"``,
        ``"word:Monday"``, indices among the real tokens of a row, or a mask ``[batch, token]``. At
        ``scores`` and ``pattern`` these are the queries.
    keys : the same
        Keys, at ``scores`` and ``pattern``.
    rows, heads : int, slice, list or boolean mask
        Rows of the batch; heads, at sites that have them.
    patches, frames
        ``(row, column)``, a list of them or ``"2:5,3:7"``; frame numbers of a video. Patches without
        frames are tubes.
    region : Tensor
        A mask ``[height, width]`` in [0, 1] in image coordinates, resampled to the grid of the site.
    strength : float
        A weight for all chosen entries.
    """

    tokens: TokenChoice | None = None
    exclude: TokenChoice | None = None
    keys: TokenChoice | None = None
    rows: Any = None
    heads: Any = None
    patches: Any = None
    frames: Any = None
    region: Any = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.strength, Real) or not 0 <= self.strength <= 1:
            raise SteerlabError(f"strength={self.strength!r}: a scope's strength is a number in [0, 1]")

    @property
    def everything(self) -> bool:
        """Whether nothing is restricted."""
        return not self.needs_tokens and self.rows is None and self.heads is None and self.strength == 1

    @property
    def needs_tokens(self) -> bool:
        """Whether the token map of the run is asked for."""
        chosen = (self.tokens, self.exclude, self.keys, self.patches, self.frames, self.region)
        return any(part is not None for part in chosen)

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
            *([_entries(self.rows, "batch", "row", shape, axes)] if self.rows is not None else []),
            *([_entries(self.heads, "head", "head", shape, axes)] if self.heads is not None else []),
        ]
        weight = torch.ones((1,) * len(shape), dtype=torch.bool, device=device)
        for part in parts:
            part = part.to(device)
            both = weight.dtype == torch.bool and part.dtype == torch.bool
            weight = weight & part if both else weight.float() * part.float()
        return weight if self.strength == 1 else weight.float() * self.strength

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
        if any(part is not None for part in (self.patches, self.frames, self.region)):
            along = _axis_of(axis, axes, "a choice of patches")
            tokens = _map_for(moment, shape, along)
            if self.patches is not None or self.frames is not None:
                parts.append(_spread(tokens.patches(self.patches, self.frames), shape, axes, along))
            if self.region is not None:
                parts.append(_spread(tokens.region(self.region), shape, axes, along))
        return parts

    def __str__(self) -> str:
        names = ("tokens", "exclude", "keys", "rows", "heads", "patches", "frames", "region")
        given = [f"{name}={_shown(getattr(self, name))}" for name in names if getattr(self, name) is not None]
        if self.strength != 1:
            given.append(f"strength={self.strength:g}")
        return ", ".join(given)


def _shown(choice: Any) -> str:
    return f"tensor{list(choice.shape)}" if isinstance(choice, torch.Tensor) else repr(choice)


def _entries(choice: Any, axis: str, kind: str, shape: torch.Size, axes: tuple[str, ...]) -> torch.Tensor:
    """Boolean mask of some entries of one axis, viewed so that it broadcasts."""
    along = _axis_of(axis, axes, f"{kind}s={_shown(choice)}")
    view = [1] * len(shape)
    view[along] = shape[along]
    return index_mask(choice, shape[along], kind).view(view)


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
        scaled = _scaled(tokens, shape[along])
        if scaled is None:
            raise SteerlabError(
                f"the site has {shape[along]} tokens where the inputs have {tokens.count}; "
                "choose tokens at a site whose tokens are those of the inputs"
            )
        return scaled
    return tokens


def _scaled(tokens: TokenMap, count: int) -> TokenMap | None:
    """The same picture at a coarser grid, as in the lower levels of a UNet, or at that of the latent."""
    grid = tokens.grid
    if grid is None or not set(tokens.groups) <= {"patches"}:
        return None
    times = round((count / tokens.count) ** 0.5)  # places of a latent that share a patch, along an edge
    if times > 1 and tokens.count * times**2 == count:
        return _picture((*grid[:-2], grid[-2] * times, grid[-1] * times))
    while min(grid[-2:]) > 1:
        grid = (*grid[:-2], -(-grid[-2] // 2), -(-grid[-1] // 2))
        if torch.Size(grid).numel() == count:
            return _picture(grid)
    return None


def _picture(grid: tuple[int, ...]) -> TokenMap:
    count = torch.Size(grid).numel()
    return TokenMap(count, {"patches": (0, count)}, grid)


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
