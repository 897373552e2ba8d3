"""Which features separate chosen from rejected answers, and which pairs carry a feature."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.significance import discoveries, paired_t_test, sign_test


@dataclass(frozen=True)
class Preference:
    """Features against preferences; our own statistics for the pipeline of arXiv 2606.12360.

    Attributes
    ----------
    effect : Tensor
        Mean of chosen minus rejected, ``[feature]``.
    t, p : Tensor
        Student's paired test, ``[feature]`` each.
    sign_p : Tensor
        The sign test, ``[feature]``: trusts no distribution and no outlier.
    """

    effect: torch.Tensor
    t: torch.Tensor
    p: torch.Tensor
    sign_p: torch.Tensor

    def significant(self, rate: float = 0.05) -> torch.Tensor:
        """Features ``[feature]`` that stand by the t test, false discoveries at `rate`."""
        return discoveries(self.p, rate=rate)


def pool_codes(codes: torch.Tensor, *, mask: torch.Tensor | None = None, how: str = "max") -> torch.Tensor:
    """One code vector an answer: the largest or the mean code over its tokens.

    Parameters
    ----------
    codes : Tensor
        ``[batch, token, feature]``.
    mask : Tensor or None
        True for the tokens of the answer, ``[batch, token]``; None takes all.
    how : str
        ``"max"`` (the largest value) or ``"mean"``.

    Returns
    -------
    Tensor
        ``[batch, feature]``.
    """
    if how not in ("max", "mean"):
        raise ValueError(f"pooling is 'max' or 'mean', not {how!r}")
    if mask is None:
        mask = torch.ones(codes.shape[:2], dtype=torch.bool, device=codes.device)
    if not bool(mask.any(1).all()):
        raise ValueError("an answer without tokens has nothing to pool")
    kept = mask[..., None]
    if how == "max":
        return codes.masked_fill(~kept, -torch.inf).amax(1)
    return codes.masked_fill(~kept, 0.0).sum(1) / kept.sum(1)


def preference_effects(chosen: torch.Tensor, rejected: torch.Tensor) -> Preference:
    """Test each feature of pooled codes ``[pair, feature]`` for a difference between the two answers."""
    if chosen.shape != rejected.shape:
        raise ValueError(f"chosen {tuple(chosen.shape)} and rejected {tuple(rejected.shape)} are not paired")
    differences = chosen.double() - rejected.double()
    t, p = paired_t_test(differences)
    return Preference(differences.mean(0), t, p, sign_test(differences))


def pair_contributions(
    chosen: torch.Tensor, rejected: torch.Tensor, *, features: torch.Tensor
) -> torch.Tensor:
    """How much each pair pushes some features the way all pairs together push them.

    ``c_i = sum_{k in features} sign(effect_k) (z_ik(chosen) - z_ik(rejected)) / s_k``, with ``s_k`` the
    root mean square of the differences, so that features count alike (our own definition).

    Parameters
    ----------
    chosen, rejected : Tensor
        Pooled codes ``[pair, feature]``.
    features : Tensor
        Indices or a mask of the features in question.

    Returns
    -------
    Tensor
        ``[pair]``.
    """
    differences = (chosen.double() - rejected.double())[:, features]
    size = differences.square().mean(0).sqrt()
    return (differences * differences.mean(0).sign() / size.masked_fill(size == 0, 1.0)).sum(1)


def keep_pairs(
    chosen: torch.Tensor, rejected: torch.Tensor, *, features: torch.Tensor, share: float
) -> torch.Tensor:
    """Mask of the pairs to keep when the `share` that push `features` most are dropped.

    Parameters
    ----------
    chosen, rejected : Tensor
        Pooled codes ``[pair, feature]``.
    features : Tensor
        Indices or a mask of the features that should not be taught.
    share : float
        Part of the pairs to drop, in [0, 1).

    Returns
    -------
    Tensor
        ``[pair]``, bool. The masks of growing shares are nested.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of pairs to drop is at least 0 and below 1, not {share}")
    scores = pair_contributions(chosen, rejected, features=features)
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep[scores.argsort(descending=True, stable=True)[: round(share * len(scores))]] = False
    return keep
