"""What heads write to the stream: the output projection, checked against the model's own block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.sinks.parts import Part
from steerlab.attending import attend
from steerlab.errors import SteerlabError
from steerlab.layers import layer_of
from steerlab.looks import Looks
from steerlab.model import Model
from steerlab.numerics.attention import mix_values
from steerlab.numerics.sink_values import head_grams, roots
from steerlab.sites import Site

EXACT = 1e-4  # relative error of the rebuilt attention; dtypes of half precision get HALF
HALF = 5e-2


@dataclass(frozen=True, eq=False)
class Projection:
    """How one block's heads write to the stream.

    Attributes
    ----------
    grams : Tensor
        ``W_h^T diag(gain^2) W_h``, ``[head, dim, dim]`` in float32.
    root : Tensor
        ``R`` with ``R R^T`` the Gram, ``[head, dim, dim]`` in float32.
    error : float
        Relative error of the attention rebuilt from pattern, values and projection.
    """

    grams: torch.Tensor
    root: torch.Tensor
    error: float


def projections(model: Model, part: Part, patterns: Sequence[Site]) -> dict[Site, Projection]:
    """The projection of every block, each proved on a batch.

    What stands between the projection and the stream is taken to be one factor a channel (layer scale), found
    by least squares, or a root-mean-square norm with one (as in Gemma 2 and 3), whose factor of each query is
    left out of all values. That it is nothing else is what the check shows: ``gain * (W A V + b)`` must be
    what the block adds, from the pattern and the values as they were watched.
    """
    reads = [Site(site.place, stream) for site in patterns for stream in ("heads", "attn")]
    acts = model.capture(part.inputs, at=reads)
    rebuilt = _mixed(model, part, patterns)
    found = {}
    for site in patterns:
        heads, adds = Site(site.place, "heads"), Site(site.place, "attn")
        layer = layer_of(model.module, model._points, heads, model._points.find(heads)[0][1])
        weight, bias = layer.weight.double(), layer.bias.double()
        added = acts[adds].double()[part.real]
        written = acts[heads].flatten(2).double()[part.real] @ weight.T + bias
        again = rebuilt[site].flatten(2).double()[part.real] @ weight.T + bias
        ways = [_fitted(written, again, added), _fitted(_normed(written), _normed(again), added)]
        error, gain = min(ways, key=lambda way: way[0])
        allowed = HALF if acts[adds].dtype in (torch.float16, torch.bfloat16) else EXACT
        if not error < allowed:
            raise SteerlabError(
                f"{site}: pattern, values and output projection give what the block adds only within "
                f"{error:.1e} (allowed: {allowed:.0e}); something else stands between them, so the values "
                "of its sinks cannot be judged"
            )
        grams = head_grams(weight, acts[heads].shape[2], gain)
        found[site] = Projection(grams.float(), roots(grams).float(), error)
    return found


def _fitted(written: torch.Tensor, again: torch.Tensor, added: torch.Tensor) -> tuple[float, torch.Tensor]:
    """One factor a channel from what was written to what was added, and the error of what was rebuilt."""
    gain = (added * written).sum(0) / written.square().sum(0).clamp_min(1e-30)
    gain = torch.where((gain - 1).abs() < EXACT, torch.ones_like(gain), gain)
    return float((gain * again - added).norm() / added.norm().clamp_min(1e-30)), gain


def _normed(x: torch.Tensor) -> torch.Tensor:
    return x * x.square().mean(-1, keepdim=True).clamp_min(1e-30).rsqrt()


def _mixed(model: Model, part: Part, patterns: Sequence[Site]) -> Mapping[Site, torch.Tensor]:
    """Pattern times values, rebuilt from tiles, ``[batch, token, head, dim]``."""
    found: dict[Site, torch.Tensor] = {}

    def see(site: Site, looks: Looks) -> None:
        rows = [mix_values(tile, looks.v) for _, tile in looks.tiles()]
        found[site] = torch.cat(rows, dim=2).transpose(1, 2)

    attend(model, part.inputs, list(patterns), see)
    return found
