"""What queries and keys exchange: energies of pairs of factors, and bi-orthogonal modes of the logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from steerlab.numerics.anova import FactorModel

PAIRS = ("CC", "CP", "PC", "PP")  # content or position of the query, then of the key
BIASES = ("MC", "MP")  # the mean query: a bias of keys, which attention does feel
ROOT = 1e-12  # of the largest eigenvalue: directions below it are not there
CORNERS = {"CC": (0.0, 0.0), "CP": (0.0, 1.0), "PC": (1.0, 0.0), "PP": (1.0, 1.0)}
DEAD = 0.1  # about one half: neither content nor position


def factor_energies(
    query: FactorModel,
    key: FactorModel,
    *,
    unbiased: bool = True,
    pairs: Sequence[str] = (*PAIRS, *BIASES),
) -> dict[str, torch.Tensor]:
    r"""Mean squares of the parts of ``q . k`` over all pairs of tokens of the data, ``[...]`` each.

    .. math:: \|Q_f K_g^T\|_F^2 = \mathrm{tr}(G^Q_f G^K_g)

    divided by the number of pairs. Factors are orthogonal over the data, so the parts sum exactly to the mean
    square of the logit. A key's mean changes a whole row of logits alike, which attention cannot feel, so
    ``CM``, ``PM`` and ``MM`` are left out; `BIASES` stand beside the four `PAIRS` (arXiv:2601.05328; the
    pooling over images and this treatment of the mean are our own reading of it).

    Parameters
    ----------
    query, key : FactorModel
        Of queries and keys of the same heads, before the scale of the attention.
    unbiased : bool
        Take from the position factors what sampling alone explains, and count it as content.
    pairs : sequence of str
        Factors of the query and of the key, each ``"M"``, ``"P"`` or ``"C"``.
    """
    grams = [_grams(side, unbiased) for side in (query, key)]
    tokens = (query.count * query.positions) * (key.count * key.positions)
    return {f + g: (grams[0][f] * grams[1][g].mT).sum((-2, -1)) / tokens for f, g in pairs}


def factor_shares(energies: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Shares of `PAIRS`, ``[..., 4]``, which sum to 1."""
    found = torch.stack([energies[name] for name in PAIRS], -1)
    return found / found.sum(-1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)


def within_energies(
    q: torch.Tensor, k: torch.Tensor, query: FactorModel, key: FactorModel
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The same over pairs of tokens of one image, which is what attention computes, for one head.

    Here the parts do not quite sum to the whole: the second result is what is left, relative to the mean
    square of the logit without a mean on either side. That variant is our own.

    Parameters
    ----------
    q, k : Tensor
        ``[image, position, dim]``.
    query, key : FactorModel
        The factors, of these or of many more images.
    """
    sides = []
    for x, model in ((q, query), (k, key)):
        away = x.double() - model.mu
        sides.append({"C": away - model.pos, "P": model.pos.expand_as(away), "all": away})

    def mean_square(f: str, g: str) -> torch.Tensor:
        return (sides[0][f] @ sides[1][g].mT).square().mean()

    found, whole = {name: mean_square(name[0], name[1]) for name in PAIRS}, mean_square("all", "all")
    return found, (whole - sum(found.values())) / whole


@dataclass(frozen=True, eq=False)
class Modes:
    r"""Parts of the logits of one head, each a number read from the query times one read from the key.

    .. math:: (q_i - \mu^Q) \cdot (k_j - \mu^K) = \sum_m \sigma_m\, (q_i \cdot a_m)(k_j \cdot b_m)

    with centred ``q`` and ``k`` on the right too. In the data basis both readings have mean square 1 over the
    tokens, readings of different modes are uncorrelated on each side, ``sigma_m b_m . a_l = delta_ml``, and
    ``sigma_m`` is the root mean square of the mode's part of the logit; a singular value of the matrix of
    all logits is ``n P`` times it.

    Parameters
    ----------
    sigma : Tensor
        ``[mode]``, largest first.
    a, b : Tensor
        ``[mode, dim]``: what is read from the query and from the key.
    query_position, key_position : Tensor
        ``[mode]``: the share of position in what varies in the reading of each side; the rest is content.
    rank : int
        Modes that are numerically there; later ones have ``sigma = 0``.
    """

    sigma: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    query_position: torch.Tensor
    key_position: torch.Tensor
    rank: int

    def signed(self, readings: torch.Tensor) -> Modes:
        """The same with signs that make the largest reading ``[..., mode]`` of each mode's query positive."""
        flat = readings.reshape(-1, readings.shape[-1]).to(self.a)
        far = flat.gather(0, flat.abs().argmax(0, keepdim=True))[0]
        sign = torch.where(far < 0, -1.0, 1.0).to(self.a).unsqueeze(-1)
        return replace(self, a=self.a * sign, b=self.b * sign)

    def removal(self, modes: Sequence[int]) -> torch.Tensor:
        """The matrix ``I - sum_m sigma_m b_m a_m^T`` that takes modes out of a query, ``[dim, dim]``."""
        eye = torch.eye(self.a.shape[1], dtype=self.a.dtype, device=self.a.device)
        return eye - self.kept(modes)

    def kept(self, modes: Sequence[int]) -> torch.Tensor:
        """The matrix ``sum_m sigma_m b_m a_m^T`` that leaves a query these modes alone, ``[dim, dim]``."""
        chosen = list(modes)
        return (self.sigma[chosen, None] * self.b[chosen]).mT @ self.a[chosen]

    def types(self) -> list[str]:
        """``"CC"``, ``"CP"``, ``"PC"``, ``"PP"`` or ``"mixed"``, query first: the nearest corner.

        A side whose share of position lies within 0.1 of one half makes a mode mixed; the rule is our own.
        """
        return mode_types(self.query_position, self.key_position)


def data_modes(query: FactorModel, key: FactorModel, *, unbiased: bool = False) -> Modes:
    """Modes in the basis of the data: the singular vectors of all logits, found without making them.

    ``U diag(sigma) V^T = svd(C_Q^(1/2) C_K^(1/2))`` with the covariances ``C`` of centred queries and keys,
    ``a = C_Q^(-1/2) U`` and ``b = C_K^(-1/2) V`` (pseudo-inverse roots). That the decomposition of
    arXiv:2601.05328 is taken over the data is our own reading.

    Parameters
    ----------
    query, key : FactorModel
        Of one head.
    unbiased : bool
        Whether the shares of position are without what sampling alone explains.
    """
    covariances = [(side.position + side.content) / (side.count * side.positions) for side in (query, key)]
    (root_q, inverse_q, rank_q), (root_k, inverse_k, rank_k) = (_roots(one) for one in covariances)
    u, sigma, vh = torch.linalg.svd(root_q @ root_k)
    rank = min(rank_q, rank_k, int((sigma > math.sqrt(ROOT) * sigma.max()).sum()))
    sigma = torch.where(torch.arange(len(sigma), device=sigma.device) < rank, sigma, 0.0)
    a, b = _upright(u.mT @ inverse_q, vh @ inverse_k)
    return _with_sides(sigma, a, b, (query, key), (rank, unbiased))


def weight_modes(
    w_q: torch.Tensor, w_k: torch.Tensor, model: FactorModel, *, unbiased: bool = False
) -> Modes:
    """Modes in the basis of the weights: singular vectors of ``W_Q^T W_K``, as in arXiv:2405.14880.

    They read the input of the projections, need no data, and are orthonormal there rather than over tokens;
    the data only say how much position each reads. Found by QR of both weights and a small SVD.

    Parameters
    ----------
    w_q, w_k : Tensor
        ``[head dim, dim]`` of one head; scale one of them to have the attention's scale in ``sigma``.
    model : FactorModel
        Of the input of both projections, ``[dim]``.
    unbiased : bool
        As for `data_modes`.
    """
    (left, r_q), (right, r_k) = (torch.linalg.qr(w.to(model.mu).mT) for w in (w_q, w_k))
    u, sigma, vh = torch.linalg.svd(r_q @ r_k.mT)
    rank = int((sigma > ROOT * sigma.max()).sum())
    a, b = _upright((left @ u).mT, (right @ vh.mT).mT)
    return _with_sides(sigma, a, b, (model, model), (rank, unbiased))


def effective_ranks(sigma: torch.Tensor) -> dict[str, torch.Tensor]:
    """How many singular values ``[..., mode]`` there are in effect, by four measures ``[...]``.

    ``entropy`` is ``exp(- sum p ln p)`` with ``p = sigma^2 / sum sigma^2``, ``participation`` is
    ``1 / sum p^2``, ``stable`` is ``1 / max p``, and ``to 90 %`` counts the largest that hold 90 % of the
    energy. Which of them the paper means is not known.
    """
    p = sigma.double().square()
    p = p / p.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    held = p.sort(-1, descending=True).values.cumsum(-1)
    return {
        "entropy": torch.special.entr(p).sum(-1).exp(),
        "participation": 1 / p.square().sum(-1),
        "stable": 1 / p.amax(-1),
        "to 90 %": 1 + (held < 0.9 - 1e-12).sum(-1),
    }


def head_types(shares: torch.Tensor) -> list[str]:
    """``"content"``, ``"content-position"``, ``"position"`` or ``"mixed"`` from shares ``[head, 4]``.

    The largest of CC, CP + PC and PP, where it is one half or more; a rule of our own.
    """
    names = ("content", "content-position", "position")
    best = _three(shares).max(-1)
    return [
        names[i] if top >= 0.5 else "mixed"
        for i, top in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def specialisation(shares: torch.Tensor) -> torch.Tensor:
    """``1 - entropy / ln 3`` of the shares of CC, CP + PC and PP, ``[..., 4] -> [...]``; our own measure."""
    return 1 - torch.special.entr(_three(shares)).sum(-1) / math.log(3)


def mode_types(query_position: torch.Tensor, key_position: torch.Tensor) -> list[str]:
    """The corner of the unit square nearest to each pair of shares of position; see `Modes.types`."""
    sides = torch.stack([query_position, key_position], -1)
    unclear = ((sides - 0.5).abs() < DEAD).any(-1).tolist()
    names = {corner: name for name, corner in CORNERS.items()}
    corners = (sides > 0.5).double().tolist()
    return ["mixed" if no else names[tuple(c)] for no, c in zip(unclear, corners, strict=True)]


def _three(shares: torch.Tensor) -> torch.Tensor:
    return torch.stack([shares[..., 0], shares[..., 1] + shares[..., 2], shares[..., 3]], -1)


def _grams(model: FactorModel, unbiased: bool) -> dict[str, torch.Tensor]:
    """Gram matrices of mean, position and content; what chance put into position goes back to content."""
    position = model.unbiased_position() if unbiased else model.position
    content = model.content + (model.position - position)
    return {"M": model.constant, "P": position, "C": content}


def _roots(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The square root, its pseudo-inverse, and the numerical rank."""
    values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    there = values > ROOT * values[-1].clamp_min(0)
    root = torch.where(there, values, 0.0).sqrt()
    inverse = torch.where(there, 1 / root.clamp_min(torch.finfo(root.dtype).tiny), 0.0)
    return (vectors * root) @ vectors.mT, (vectors * inverse) @ vectors.mT, int(there.sum())


def _upright(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signs that make the largest entry of each `a` positive, until readings of tokens say better."""
    far = a.gather(1, a.abs().argmax(1, keepdim=True))
    sign = torch.where(far < 0, -1.0, 1.0).to(a)
    return a * sign, b * sign


def _with_sides(
    sigma: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    models: tuple[FactorModel, FactorModel],
    facts: tuple[int, bool],
) -> Modes:
    shares = []
    for vectors, model in ((a, models[0]), (b, models[1])):
        grams = _grams(model, facts[1])
        part, rest = (((vectors @ grams[f]) * vectors).sum(-1).clamp_min(0) for f in ("P", "C"))
        shares.append(part / (part + rest).clamp_min(torch.finfo(part.dtype).tiny))
    return Modes(sigma, a, b, shares[0], shares[1], facts[0])
