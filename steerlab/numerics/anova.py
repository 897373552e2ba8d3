"""Activations split into a mean, a part of the position and content, from moments gathered in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch

TOLERANCE = 1e-10  # of the trace: eigenvalues further below zero are no rounding


@dataclass(frozen=True, eq=False)
class FactorModel:
    r"""The analysis of variance of activations ``x_ip`` of images ``i`` at positions ``p``.

    .. math:: x_{ip} = \mu + pos_p + c_{ip}, \quad
              \mu = \mathrm{mean}_{ip}\, x_{ip}, \quad pos_p = \mathrm{mean}_i\, x_{ip} - \mu

    so that ``sum_p pos_p = 0`` and ``sum_i c_ip = 0`` at every position, and energies add up exactly. The
    split in two stages is that of bi-orthogonal factor decomposition (arXiv:2601.05328) and of
    arXiv:2310.04861; the formulas are the standard ones of a one-way design, and what "content" is (all that
    is neither mean nor position) is our own reading.

    Parameters
    ----------
    count : int
        Images.
    mu : Tensor
        ``[..., dim]``, where ``...`` are no axes, or one of heads.
    pos : Tensor
        ``[..., position, dim]``.
    content : Tensor
        The Gram matrix ``sum_ip c_ip c_ip^T``, ``[..., dim, dim]``; its diagonal alone, ``[..., dim]``, where
        `diagonal`.
    scene : Tensor
        The part of `content` due to what an image has at all positions, ``P sum_i img_i img_i^T`` with
        ``img_i = mean_p x_ip - mu``; what is left is local content.
    diagonal : bool
        Whether Gram matrices are kept as their diagonals.
    """

    count: int
    mu: torch.Tensor
    pos: torch.Tensor
    content: torch.Tensor
    scene: torch.Tensor
    diagonal: bool = False

    @property
    def positions(self) -> int:
        """How many positions."""
        return self.pos.shape[-2]

    @property
    def position(self) -> torch.Tensor:
        """The Gram matrix of the position factor, ``n sum_p pos_p pos_p^T``."""
        return self.count * self._product(self.pos)

    @property
    def constant(self) -> torch.Tensor:
        """The Gram matrix of the mean, ``n P mu mu^T``."""
        return self.count * self.positions * self._product(self.mu.unsqueeze(-2))

    def energies(self) -> dict[str, torch.Tensor]:
        """Energies ``[...]``: mean, position and content sum to the whole; content is scene + local."""
        found = {
            name: self._trace(gram)
            for name, gram in (
                ("mean", self.constant),
                ("position", self.position),
                ("content", self.content),
                ("scene", self.scene),
            )
        }
        return found | {"local": found["content"] - found["scene"]}

    def share(self) -> torch.Tensor:
        """The share of position in what varies, ``E_pos / (E_pos + E_cont)``, ``[...]``.

        It is biased upwards: content alone gives about ``1 / n``.
        """
        found = self.energies()
        return found["position"] / (found["position"] + found["content"])

    def unbiased_share(self) -> torch.Tensor:
        """The same by the random-effects estimator, which is 0 on average where there is content alone.

        ``v_P / (v_P + MS_W)`` with ``MS_B = n sum_p |pos_p|^2 / (P - 1)``,
        ``MS_W = sum |c|^2 / (P (n - 1))`` and ``v_P = max(0, (MS_B - MS_W) / n)``.
        """
        found, places = self.energies(), self.positions
        between = found["position"] / max(places - 1, 1)
        within = found["content"] / (places * max(self.count - 1, 1))
        variance = ((between - within) / self.count).clamp_min(0)
        return variance / (variance + within)

    def unbiased_position(self) -> torch.Tensor:
        """`position` without the part that sampling alone explains, ``- (P - 1) / (P (n - 1)) content``.

        Negative eigenvalues, which chance makes, are set to zero.
        """
        places = self.positions
        gram = self.position - self.content * ((places - 1) / (places * max(self.count - 1, 1)))
        if self.diagonal:
            return gram.clamp_min(0)
        values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
        return (vectors * values.clamp_min(0).unsqueeze(-2)) @ vectors.mT

    def through(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> FactorModel:
        """The factors of ``W x + b``, exactly: ``pos -> W pos``, Gram matrices ``G -> W G W^T``.

        Parameters
        ----------
        weight : Tensor
            ``[..., out, dim]``; a leading axis of heads gives each head its own factors.
        bias : Tensor, optional
            ``[..., out]``.
        """
        if self.diagonal:
            raise ValueError("the factors of a projection need whole Gram matrices, not their diagonals")
        weight = weight.to(self.mu)
        mu = (weight @ self.mu.unsqueeze(-1)).squeeze(-1)
        return FactorModel(
            self.count,
            mu if bias is None else mu + bias.to(mu),
            self.pos @ weight.mT,
            weight @ self.content @ weight.mT,
            weight @ self.scene @ weight.mT,
        )

    def at(self, head: int) -> FactorModel:
        """The factors of one head."""
        parts = (self.mu[head], self.pos[head], self.content[head], self.scene[head])
        return FactorModel(self.count, *parts, self.diagonal)

    def repeated(self, times: int) -> FactorModel:
        """Each head's factors several times in a row: key-value heads for the query heads that share them."""
        parts = (self.mu, self.pos, self.content, self.scene)
        return FactorModel(self.count, *(p.repeat_interleave(times, 0) for p in parts), self.diagonal)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows**2).sum(-2) if self.diagonal else rows.mT @ rows

    def _trace(self, gram: torch.Tensor) -> torch.Tensor:
        return gram.sum(-1) if self.diagonal else gram.diagonal(dim1=-2, dim2=-1).sum(-1)


class FactorMoments:
    """What a `FactorModel` needs, gathered batch by batch in float64; memory does not grow with the images.

    Every batch is centred at each of its positions and merged by the rule of Chan, Golub and LeVeque, so that
    a large mean or a large position factor cancels nothing.

    Parameters
    ----------
    diagonal : bool
        Keep the diagonals of Gram matrices alone: enough for shares of energy, and cheap for wide streams.
    """

    def __init__(self, *, diagonal: bool = False) -> None:
        self.diagonal, self.count = diagonal, 0
        self._parts: tuple[torch.Tensor, ...] = ()  # means [..., position, dim], content, scene

    def update(self, x: torch.Tensor) -> FactorMoments:
        """Add images: ``[image, position, dim]`` or ``[image, position, head, dim]``."""
        if x.ndim not in (3, 4) or not x.shape[0]:
            raise ValueError(f"moments take [image, position, (head,) dim], not {list(x.shape)}")
        wide = x.detach().double()
        if not bool(torch.isfinite(wide).all()):
            raise ValueError("moments of activations that hold NaN or infinite numbers mean nothing")
        wide = wide.movedim(2, 0) if wide.ndim == 4 else wide  # [(head,) image, position, dim]
        means = wide.mean(-3)
        away = wide - means.unsqueeze(-3)
        scene = away.mean(-2)
        return self._add(
            len(x), (means, self._gram(away.flatten(-3, -2)), wide.shape[-2] * self._gram(scene))
        )

    def merge(self, other: FactorMoments) -> FactorMoments:
        """Add what another one has gathered."""
        if not other.count:
            return self
        if self.count and other.diagonal != self.diagonal:
            raise ValueError("moments with whole Gram matrices and with diagonals cannot be merged")
        self.diagonal = other.diagonal
        return self._add(other.count, other._parts)

    def finalize(self) -> FactorModel:
        """The factors of all that was added; two images at least."""
        if self.count < 2:
            raise ValueError(f"factors need 2 images or more, and there are {self.count}")
        means, content, scene = self._parts
        if not self.diagonal:
            content, scene = psd(content), psd(scene)
        mu = means.mean(-2)
        return FactorModel(self.count, mu, means - mu.unsqueeze(-2), content, scene, self.diagonal)

    def packed(self) -> torch.Tensor:
        """All of it as one vector, for a file."""
        return torch.cat(
            [torch.tensor([float(self.count)]).double(), *(p.flatten().cpu() for p in self._parts)]
        )

    @staticmethod
    def unpacked(packed: torch.Tensor, shape: tuple[int, ...], *, diagonal: bool = False) -> FactorMoments:
        """What `packed` gave, for activations ``[image, *shape]``: ``[position, (head,) dim]``."""
        position, *heads, dim = shape
        gram = (*heads, dim) if diagonal else (*heads, dim, dim)
        shapes = [(*heads, position, dim), gram, gram]
        sizes = [torch.Size(one).numel() for one in shapes]
        if packed.numel() != 1 + sum(sizes):
            raise ValueError(f"{packed.numel()} numbers are no moments of activations {list(shape)}")
        made = FactorMoments(diagonal=diagonal)
        made.count = int(packed[0])
        parts = packed[1:].double().split(sizes)
        made._parts = tuple(part.view(one) for part, one in zip(parts, shapes, strict=True))
        return made

    def _add(self, count: int, parts: tuple[torch.Tensor, ...]) -> FactorMoments:
        if not self.count:
            self.count, self._parts = count, parts
            return self
        if parts[0].shape != self._parts[0].shape:
            raise ValueError(
                f"activations {list(parts[0].shape)} after {list(self._parts[0].shape)}: "
                "every image needs the same positions"
            )
        total = self.count + count
        weight = self.count * count / total
        apart = parts[0] - self._parts[0]
        means = self._parts[0] + apart * (count / total)
        content = self._parts[1] + parts[1] + weight * self._gram(apart)
        scene = apart.mean(-2, keepdim=True)
        scene = self._parts[2] + parts[2] + weight * apart.shape[-2] * self._gram(scene)
        self.count, self._parts = total, (means, content, scene)
        return self

    def _gram(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows**2).sum(-2) if self.diagonal else rows.mT @ rows


def psd(gram: torch.Tensor) -> torch.Tensor:
    """A Gram matrix ``[..., dim, dim]`` without negative eigenvalues of rounding; larger ones are refused."""
    gram = (gram + gram.mT) / 2
    values, vectors = torch.linalg.eigh(gram)
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    if bool((values[..., 0] < -TOLERANCE * trace.abs()).any()):
        worst = float((values[..., 0] / trace.abs().clamp_min(1e-300)).min())
        raise ValueError(f"a Gram matrix has an eigenvalue of {worst:.2g} of its trace: that is no rounding")
    if bool((values[..., 0] >= 0).all()):
        return gram
    return (vectors * values.clamp_min(0).unsqueeze(-2)) @ vectors.mT


def crossfitted_position(first: FactorModel, second: FactorModel) -> torch.Tensor:
    """The Gram matrix of the position factor from two halves of the images, ``[..., dim, dim]``, unbiased.

    ``n sum_p pos_p^(1) pos_p^(2)T``, made symmetric, with ``n`` the images of both: the sampling errors of
    the halves are independent, so their product is 0 on average. Chance may make eigenvalues negative.
    """
    count = first.count + second.count
    if first.diagonal:
        return count * (first.pos * second.pos).sum(-2)
    gram = first.pos.mT @ second.pos
    return count * (gram + gram.mT) / 2
