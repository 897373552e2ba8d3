"""One block of a block-sparse dictionary: whether it is there, where it is, and targets for edits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.bases.curved import Curved
from steerlab.bases.debiased import Debiased
from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Encoder, Linear
from steerlab.bases.manifold_fitting import Shape, fit_manifold
from steerlab.bases.part import Part
from steerlab.bases.rules import BlockShrink, BlockTopK
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.numerics.blocks import contribution_frame
from steerlab.numerics.kohonen import Kohonen, kohonen_map, medoids, spacing

_REFERENCE = 2048  # codes that are kept to say how dense the data lie


def block_size(dictionary: Dictionary) -> int:
    """Atoms in a block; refused where the codes are not chosen by blocks."""
    found = _rule_of(dictionary.encoder)
    if not isinstance(found, (BlockTopK, BlockShrink)):
        raise SteerlabError(
            f"{dictionary!r} has no blocks: its codes are chosen one by one; "
            "sl.Block(dictionary, atoms) takes some atoms as a block"
        )
    return found.size


def _rule_of(encoder: Encoder) -> object:
    if isinstance(encoder, Debiased):
        return _rule_of(encoder.encoder)
    return encoder.rule if isinstance(encoder, Linear) else encoder


@dataclass(frozen=True, eq=False)
class Block:
    """Some atoms whose codes belong together: a subspace with a concept's own geometry.

    A block-sparse featurizer (Fel, Kowal et al., Structuring Sparsity) has them by training:
    ``dictionary.block(3)``; any atoms may be read the same way. Edits take `part`: ``Zero(block.part)``
    ablates it, ``Scale(2.0, block.part)`` makes it stronger, ``Swap([1, 0], block.part)`` exchanges it,
    ``ToPrototype(block.part, code, active=True)`` sets it, ``Affine(view.turn(angle), basis=block.part)``
    turns it.

    Parameters
    ----------
    dictionary : Dictionary
        The whole.
    atoms : sequence of int
        Numbers of the block's atoms.
    """

    dictionary: Dictionary
    atoms: Sequence[int] | torch.Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "atoms", self.dictionary.numbers(self.atoms))

    @property
    def part(self) -> Part:
        """The block as a basis: its codes, all others staying as they are."""
        return Part(self.dictionary, self.atoms)

    @property
    def directions(self) -> torch.Tensor:
        """``D_g``, ``[atom, dim]``."""
        return self.dictionary.decoder[self.atoms]

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """``z_g`` of activations ``[..., dim]``: ``[..., atom]``."""
        return self.part.encode(x)

    def presence(self, x: torch.Tensor) -> torch.Tensor:
        """``|z_g|``, ``[...]``; 0 where the block is not selected."""
        return self.codes(x).norm(dim=-1)

    def contribution(self, x: torch.Tensor) -> torch.Tensor:
        """``m_g = z_g D_g``, ``[..., dim]``, in the activations' own scale."""
        return self.part.part(x)

    def view(self, x: torch.Tensor, *, centred: bool = False) -> BlockView:
        """The block's own frame, from activations ``[..., dim]`` on some of which it fires."""
        flat = x.reshape(-1, x.shape[-1])
        codes = self.codes(flat)
        codes = codes[(codes != 0).any(-1)]
        if len(codes) < 2:
            raise SteerlabError(f"{self!r} fires on {len(codes)} of these {len(flat)} activations: too few")
        origin, frame, variances = contribution_frame(codes, self.directions, centred=centred)
        kept = codes[:: math.ceil(len(codes) / _REFERENCE)]
        return BlockView(self, origin, frame, variances, kept)

    def curve(self, x: torch.Tensor, labels: Sequence[int] | torch.Tensor, shape: Shape) -> Curved:
        """The manifold that a known quantity draws inside the block, as a basis for `Move` and `Toward`.

        Parameters
        ----------
        x : Tensor
            Activations ``[sample, dim]``; those on which the block does not fire are left out.
        labels : sequence of int
            The number of each one's value, from 0 on, as for `fit_manifold`.
        shape : Shape
            Coordinates of the values, and their period.
        """
        given, labels = self.contribution(x), torch.as_tensor(labels)
        fires = (given != 0).any(-1)
        if len(labels[fires].unique()) < len(labels.unique()):
            lost = sorted(set(labels.tolist()) - set(labels[fires].tolist()))
            raise SteerlabError(f"{self!r} fires on no activation of the values {lost}")
        return Curved(self.part, fit_manifold(given[fires], labels[fires], shape=shape, pca=len(self.atoms)))

    def __repr__(self) -> str:
        return f"Block({len(self.atoms)} atoms from {int(self.atoms[0])} on, of {self.dictionary!r})"


@dataclass(frozen=True, eq=False, repr=False)
class BlockView:
    """A block in the principal frame of what it contributes, which no choice of its atoms can turn.

    ``u_g = z_g D_g V_g^T`` with ``V_g`` the leading directions of the contributions where it fires; signs
    are fixed by the largest entry of each. Where two variances tie, the frame may turn in their plane: never
    compare its colours across fits.

    Parameters
    ----------
    block : Block
        What is seen.
    origin : Tensor
        Mean contribution for a centred frame, else zeros, ``[dim]``; the paper's formula is not centred.
    frame : Tensor
        ``V_g``, ``[atom, dim]``, strongest first.
    variances : Tensor
        Of the contributions along the frame, ``[atom]``.
    codes : Tensor
        Codes where the block fired, evenly chosen, ``[sample, atom]``.
    """

    block: Block
    origin: torch.Tensor
    frame: torch.Tensor
    variances: torch.Tensor
    codes: torch.Tensor

    def coordinates(self, x: torch.Tensor) -> torch.Tensor:
        """``u_g`` of activations ``[..., dim]``, ``[..., atom]``; nan where the block does not fire."""
        m = self.block.contribution(x)
        fires = (m != 0).any(-1, keepdim=True)
        return torch.where(fires, (m - self.origin.to(m)) @ self.frame.to(m).T, torch.nan)

    def colours(self, x: torch.Tensor) -> torch.Tensor:
        """Geometry as colour: red, green and blue in [0, 1], ``[..., 3]``, black where it does not fire.

        The first three coordinates, each over twice its largest root mean square, about mid-grey.
        """
        u = self.coordinates(x)[..., :3]
        u = torch.nn.functional.pad(u, (0, 3 - u.shape[-1]))
        scale = 4 * self.variances[0].sqrt().clamp_min(1e-12).to(u)
        return torch.where(u.isnan().any(-1, keepdim=True), 0.0, (0.5 + u / scale).clamp(0.02, 1))

    def turn(self, angle: float, plane: tuple[int, int] = (0, 1)) -> torch.Tensor:
        """What turns codes by an angle in a plane of the frame, ``[atom, atom]`` for `Affine`.

        A turn about 0, where the block is not there: presence is kept where blocks are orthonormal.
        """
        first, second = plane
        size = len(self.frame)
        if first == second or not all(0 <= axis < size for axis in plane):
            raise SteerlabError(f"plane={plane}: two different axes of the frame, 0 to {size - 1}")
        turned = torch.eye(size, dtype=torch.float64)
        turned[first, first] = turned[second, second] = math.cos(angle)
        turned[first, second], turned[second, first] = math.sin(angle), -math.sin(angle)
        moved = self.block.directions.double() @ self.frame.double().T  # u = z moved
        return (moved @ turned @ torch.linalg.pinv(moved)).T.float()

    def map(self, grid: tuple[int, int] = (6, 6), *, steps: int = 20000, seed: int = 0) -> Kohonen:
        """A Kohonen map of the codes; its nodes are targets for `ToPrototype`."""
        return kohonen_map(self.codes, grid, steps=steps, seed=seed)

    def realised(self, targets: torch.Tensor) -> torch.Tensor:
        """The codes ``[..., atom]`` nearest to targets that some activation really had."""
        flat = targets.reshape(-1, targets.shape[-1]).to(self.codes)
        return self.codes[medoids(self.codes, flat)].reshape(targets.shape)

    def target(self, code: torch.Tensor) -> torch.Tensor:
        """A code ``[atom]`` as a target; one farther from the data than they are from each other is told of.

        The bound is the 99th percentile of the distances to the nearest neighbour.
        """
        away = float(torch.cdist(code[None].to(self.codes), self.codes).min())
        usual = spacing(self.codes)
        if away > usual:
            warnings.warn(
                f"a target lies {away:.3g} from the nearest code of {self.block!r}, which lie within "
                f"{usual:.3g} of each other: off the data a model may do anything; view.realised(code) is "
                "the nearest one that occurred",
                SteerlabWarning,
                stacklevel=2,
            )
        return code
