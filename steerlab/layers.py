"""Linear layers that write or read a site, and whether their weights may be exchanged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from steerlab.errors import SteerlabError
from steerlab.points import Point, Points
from steerlab.sites import Site


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer ``y = W x + b``.

    Parameters
    ----------
    module : nn.Module
        The layer.
    turned : bool
        Whether it keeps its weight as ``[in, out]``, as GPT-2 does.
    """

    module: nn.Module
    turned: bool

    @property
    def weight(self) -> torch.Tensor:
        """The weight as it is now, ``[out, in]``."""
        weight = self.module.weight.detach()
        return weight.T if self.turned else weight

    @property
    def bias(self) -> torch.Tensor:
        """The bias as it is now, ``[out]``; zeros where there is none."""
        bias = self.module.bias
        return self.weight.new_zeros(len(self.weight)) if bias is None else bias.detach()

    def put(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Have the layer compute with other parameters; its own are not written to."""
        own, table = self.module.weight, self.module._parameters
        if not torch.equal(weight, self.weight):
            weight = (weight.T if self.turned else weight).contiguous()
            table["weight"] = nn.Parameter(weight, requires_grad=own.requires_grad)
        if not torch.equal(bias, self.bias):
            table["bias"] = nn.Parameter(bias, requires_grad=own.requires_grad)


def layer_of(model: nn.Module, points: Points, site: Site, point: Point) -> Layer:
    """The layer whose weights decide what stands at a site, checked to be one that may be changed."""
    if site.stream in ("heads", "mlp.act"):
        module = point.module
    else:
        reader = Site(site.place, "heads" if site.stream == "attn" else "mlp.act")
        writer = Site(site.place, "mlp") if site.stream == "resid" else Site(site.place, site.stream)
        missing = next((str(one) for one in (reader, writer) if one not in points.known), None)
        if missing is not None:
            reason = points.refused.get(missing, "it is not known here")
            raise SteerlabError(f"{site}: the layer that writes it is found by {missing}: {reason}")
        module, adds = points.known[reader].module, points.known[writer].module
        if module not in set(adds.modules()):
            raise SteerlabError(
                f"{site}: {type(adds).__name__} stands between the weights and the stream, so an edit of the "
                "weights is another one; use edit(...)"
            )
    _refuse_odd(model, module, site)
    return Layer(module, turned=type(module).__name__ == "Conv1D")


def _refuse_odd(model: nn.Module, module: nn.Module, site: Site) -> None:
    """Refuse layers whose numbers are not an ordinary matrix of their own."""
    kind, weight = type(module), getattr(module, "weight", None)
    ordinary = kind.forward is nn.Linear.forward or kind.__name__ == "Conv1D"
    whole = isinstance(weight, nn.Parameter) and weight.is_floating_point() and weight.element_size() > 1
    if not ordinary or not whole or type(weight).__module__.partition(".")[0] != "torch":
        raise SteerlabError(
            f"{site}: {kind.__name__} does not hold an ordinary matrix (it is quantised, adapted or "
            "parametrised), so the edit cannot go into it; use edit(...)"
        )
    if weight.device.type == "meta" or "_hf_hook" in vars(module):
        raise SteerlabError(
            f"{site}: its weights are offloaded by accelerate and come anew each time; use edit(...)"
        )
    own = {p.untyped_storage().data_ptr() for p in module._parameters.values() if p is not None}
    for path, other in model.named_modules():
        theirs = {p.untyped_storage().data_ptr() for p in other._parameters.values() if p is not None}
        if other is not module and own & theirs:
            raise SteerlabError(f"{site}: its weights are shared with {path}, which would change as well")
    if any(m.training and isinstance(m, nn.Dropout) and m.p for m in model.modules()):
        raise SteerlabError(f"{site}: in training, dropout stands behind the weights; call model.eval()")
