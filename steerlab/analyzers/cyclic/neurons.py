"""Neurons of an MLP that write into a subspace, and what becomes of the answer without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.bases import FourierCode, Subspace
from steerlab.edits import Project, Scale, Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.layers import layer_of
from steerlab.model import Model
from steerlab.numerics.fourier import carried
from steerlab.sites import Site


@dataclass(frozen=True, eq=False)
class Carriers:
    """Neurons whose output lies in a subspace to a large part (arXiv 2605.01148).

    Attributes
    ----------
    site : str
        Where they act, ``blocks.3.mlp.act``.
    index : Tensor
        Their numbers, the strongest first, ``[neuron]``.
    share : Tensor
        ``|S^T w| / |w|`` of every neuron of the MLP.
    period : list of float
        Of each of them the period whose probes it writes most to; empty for a subspace without periods.
    """

    site: str
    index: torch.Tensor
    share: torch.Tensor
    period: list[float]

    def zero(self) -> Changes:
        """These neurons silent."""
        return {self.site: Zero(self._of(self.index))}

    def flip(self) -> Changes:
        """Their signs turned."""
        return {self.site: Scale(-1.0, self._of(self.index))}

    def only(self) -> Changes:
        """All other neurons of the MLP silent; attention stays as it is."""
        return {self.site: Project(self._of(self.index))}

    def others(self, seed: int) -> Changes:
        """As many other neurons of the MLP silent, drawn at random."""
        left = torch.ones(len(self.share), dtype=torch.bool)
        left[self.index] = False
        pool = left.nonzero()[:, 0]
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
        return {self.site: Zero(self._of(pool[order[: len(self.index)]]))}

    def __len__(self) -> int:
        return len(self.index)

    def _of(self, index: torch.Tensor) -> Subspace:
        return Subspace(torch.eye(len(self.share))[index])


def carriers(model: Model, place: str, code: FourierCode | Subspace, *, threshold: float = 0.4) -> Carriers:
    """The neurons of a block's MLP that write into a subspace.

    Parameters
    ----------
    model : Model
        The model.
    place : str
        The block, ``"blocks.18"``.
    code : FourierCode or Subspace
        Of the residual stream; neurons are sorted by the periods of a code.
    threshold : float
        Least share of a neuron's output that lies in it; the paper's is .4 in 4096 dimensions. In `d` ones a
        random output has about ``sqrt(rank / d)``.
    """
    act = model.site(f"{place}.mlp.act")
    layer = layer_of(model.module, model._points, act, model._points.find(act)[0][1])
    written = layer.weight.T.cpu()
    frame = code.subspace.atoms if isinstance(code, FourierCode) else code.atoms
    if written.shape[1] != frame.shape[1]:
        raise SteerlabError(
            f"{act}: its neurons write {written.shape[1]} numbers, the subspace lives in {frame.shape[1]}"
        )
    share = carried(written, frame)
    index = share.argsort(descending=True)
    index = index[share[index] > threshold]
    periods: Sequence[float] = code.periods if isinstance(code, FourierCode) else ()
    own = [carried(written[index], code.only([period]).subspace.atoms) for period in periods]
    best = torch.stack(own).argmax(0).tolist() if own and len(index) else []
    return Carriers(str(Site.parse(str(act))), index, share, [periods[i] for i in best])
