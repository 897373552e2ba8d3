"""What was read: site -> tensor, with names of axes and a token map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.grids import at_count
from steerlab.sites import Site
from steerlab.steps import Step
from steerlab.tokens import TokenChoice, TokenMap


class TowerMaps(Mapping[Site, TokenMap | None]):
    """Token maps by site, made on first look; the sites of a tower share one.

    Parameters
    ----------
    towers : mapping
        Site -> prefix of its tower.
    describe : mapping
        Prefix -> function that makes the tower's token map; towers without one have none.
    """

    def __init__(
        self, towers: Mapping[Site, str], describe: Mapping[str, Callable[[], TokenMap | None]]
    ) -> None:
        self._towers, self._describe = towers, dict(describe)
        self._known: dict[str, TokenMap | None] = {}

    def __getitem__(self, site: Site) -> TokenMap | None:
        prefix = self._towers[site]
        if prefix in self._describe:  # and let go of the inputs that the function holds
            self._known[prefix] = self._describe.pop(prefix)()
        return self._known.get(prefix)

    def __iter__(self) -> Iterator[Site]:
        return iter(self._towers)

    def __len__(self) -> int:
        return len(self._towers)


@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, torch.Tensor]):
    """Activations by site.

    Parameters
    ----------
    tensors : dict
        Site -> tensor.
    axes : dict
        Site -> names of the tensor's axes. Where a site fired more than once, a first axis ``"call"``
        counts the fires; in a denoiser it is called ``"step"``.
    maps : mapping
        Site -> token map, or None where the inputs say nothing of the tokens.
    steps : tuple of Step
        The denoising steps along the axis ``"step"``, in a pipeline.

    Examples
    --------
    >>> acts = Activations({Site("blocks.0", "resid"): torch.zeros(1, 2, 3)},
    ...                    {Site("blocks.0", "resid"): ("batch", "token", "dim")})
    >>> acts["blocks.0.resid"].shape
    torch.Size([1, 2, 3])
    """

    tensors: dict[Site, torch.Tensor]
    axes: dict[Site, tuple[str, ...]]
    maps: Mapping[Site, TokenMap | None] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def __getitem__(self, at: str | Site) -> torch.Tensor:
        return self.tensors[self._known(at)]

    def __iter__(self) -> Iterator[str]:
        return iter(str(site) for site in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, at: object) -> bool:
        return isinstance(at, (str, Site)) and Site.parse(at) in self.tensors

    def tokens(self, choice: TokenChoice) -> Activations:
        """The same activations at some tokens only, ``[batch, chosen, ...]``.

        Every row must have the same number of them.
        """
        values, maps = {}, {}
        for site, value in self.tensors.items():
            axes = self.axes[site]
            if "token" not in axes:
                raise SteerlabError(f"{site} has no token axis, only {', '.join(axes)}")
            axis = axes.index("token")
            tokens = self.maps.get(site) or TokenMap(value.shape[axis])
            values[site] = chosen_tokens(value, axis, tokens.select(choice), f"tokens={choice!r}")
            maps[site] = _narrowed(tokens, choice)
        return replace(self, tensors=values, maps=maps)

    def grid(self, at: str | Site) -> torch.Tensor:
        """Patches laid out as ``[batch, (frame,) row, column, ...]``."""
        site, tokens = self._known(at), self.map_of(at)
        grid = tokens.patch_grid()
        axis = self.axes[site].index("token")
        span = slice(*tokens.groups.get("patches", (0, tokens.count)))
        patches = self.tensors[site].movedim(axis, 0)[span]
        if tokens.frame_last:
            patches = patches.unflatten(0, (*grid[1:], grid[0])).movedim(2, 0)
        else:
            patches = patches.unflatten(0, grid)
        return patches.movedim(tuple(range(len(grid))), tuple(range(axis, axis + len(grid))))

    def map_of(self, at: str | Site) -> TokenMap:
        """The token map of a site, at the grid that the site has."""
        site = self._known(at)
        tokens, axes = self.maps.get(site), self.axes[site]
        if tokens is None:
            raise SteerlabError(f"{site}: the tokens of this site are not described")
        along = next((i for i, axis in enumerate(axes) if axis in ("token", "query")), None)
        count = tokens.count if along is None else self.tensors[site].shape[along]
        return at_count(tokens, count) or tokens

    def stack(self) -> torch.Tensor:
        """All sites as one tensor ``[site, ...]``; their shapes must agree."""
        shapes = {tuple(value.shape) for value in self.tensors.values()}
        if len(shapes) != 1:
            raise SteerlabError(f"sites of different shapes cannot be stacked: {listing(sorted(shapes))}")
        return torch.stack(list(self.tensors.values()))

    def _known(self, at: str | Site) -> Site:
        site = Site.parse(at)
        if site not in self.tensors:
            known = [str(known) for known in self.tensors]
            raise SteerlabError(f"{site} was not read{nearest(str(site), known)} (read: {listing(known)})")
        return site

    def __repr__(self) -> str:
        rows = [
            f"  {site!s:28} {', '.join(f'{a} {n}' for a, n in zip(self.axes[site], v.shape, strict=False))}"
            for site, v in self.tensors.items()
        ]
        more = [f"  ... and {len(rows) - 12} more"] if len(rows) > 12 else []
        return "\n".join([f"Activations of {len(self)} sites", *rows[:12], *more])


def chosen_tokens(value: torch.Tensor, axis: int, chosen: torch.Tensor, what: str) -> torch.Tensor:
    """Entries ``[batch, chosen, ...]`` of a tensor by a mask ``[batch or 1, token]``, as a copy."""
    chosen = chosen.to(value.device)
    counts = chosen.sum(dim=1)
    if int(counts.min()) != int(counts.max()):
        raise SteerlabError(
            f"{what} chooses a different number of tokens in each row ({listing(counts.tolist())}); "
            "read all tokens and use a mask"
        )
    if not int(counts[0]):
        raise SteerlabError(f"{what} chooses no token")
    if chosen.shape[0] == 1:
        return value.index_select(axis, chosen[0].nonzero()[:, 0])
    index = chosen.nonzero()[:, 1].view(chosen.shape[0], -1)
    shape = [1] * value.ndim
    shape[axis - 1], shape[axis] = index.shape
    index = index.view(shape).expand(*value.shape[:axis], index.shape[1], *value.shape[axis + 1 :])
    return value.gather(axis, index)


def _narrowed(tokens: TokenMap, choice: TokenChoice) -> TokenMap | None:
    """The map after a choice; only a choice of all patches keeps its grid."""
    if choice != "patches" or "patches" not in tokens.groups:
        return None
    start, stop = tokens.groups["patches"]
    return replace(
        tokens, count=stop - start, groups={"patches": (0, stop - start)}, real=None, position=None, ids=None
    )
