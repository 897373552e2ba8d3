"""Attention written out, against a float64 numpy reference with one loop a head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerlab.numerics.attention import attention_pattern, attention_scores, mix_values

HEADS, DIM = 4, 6


def tensors(kv_heads: int, queries: int = 5, keys: int = 5, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, HEADS, queries, DIM), (2, kv_heads, keys, DIM), (2, kv_heads, keys, DIM)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def reference(q, k, v, *, scale, softcap=None, allowed=None, added=0.0, sinks=None):
    """Scores, pattern and mixed values, head by head."""
    q, k, v = (x.double().numpy() for x in (q, k, v))
    batch, heads, queries, _ = q.shape
    scores = np.zeros((batch, heads, queries, k.shape[2]))
    for b in range(batch):
        for h in range(heads):
            scores[b, h] = scale * q[b, h] @ k[b, h * k.shape[1] // heads].T
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    scores = scores + added
    if allowed is not None:
        scores = np.where(np.broadcast_to(allowed, scores.shape), scores, -np.inf)
    with np.errstate(invalid="ignore"):
        mass = np.exp(scores)
    total = mass.sum(-1, keepdims=True)
    total = total + (0 if sinks is None else np.exp(sinks).reshape(1, -1, 1, 1))
    pattern = np.divide(mass, total, out=np.zeros_like(mass), where=total != 0)
    mixed = np.stack([pattern[:, h] @ v[:, h * v.shape[1] // heads] for h in range(heads)], 1)
    return scores, pattern, mixed


def check(q, k, v, *, sinks=None, within=1e-12, expected, **settings) -> None:
    scores = attention_scores(q, k, **settings)
    pattern = attention_pattern(scores, sinks)
    for got, want in zip((scores, pattern, mix_values(pattern, v)), expected, strict=True):
        np.testing.assert_allclose(got.double().numpy(), want, rtol=within, atol=within)


TRIANGLE = np.tril(np.ones((5, 5), dtype=bool))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries_softcap_and_causal_masks(kv_heads, softcap, causal):
    q, k, v = tensors(kv_heads)
    expected = reference(q, k, v, scale=0.3, softcap=softcap, allowed=TRIANGLE if causal else None)
    check(q, k, v, scale=0.3, softcap=softcap, causal=causal, expected=expected)


@pytest.mark.parametrize("shape", [(2, 1, 5, 5), (1, 1, 5, 5), (2, 4, 5, 5), (2, 1, 1, 5)])
def test_boolean_masks_say_who_may_attend(shape):
    q, k, v = tensors(2)
    allowed = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.4
    allowed[..., 0] = True
    check(q, k, v, scale=1.0, bias=allowed, expected=reference(q, k, v, scale=1.0, allowed=allowed.numpy()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_float_masks_are_added_and_their_smallest_number_means_never(dtype):
    q, k, v = tensors(2)
    bias = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    forbidden = torch.from_numpy(~TRIANGLE)
    added = bias.double().numpy()
    masked = bias.masked_fill(forbidden, torch.finfo(dtype).min)
    check(
        q, k, v, scale=1.0, bias=masked, expected=reference(q, k, v, scale=1.0, added=added, allowed=TRIANGLE)
    )


def test_a_mask_in_another_precision_keeps_its_meaning():
    q, k, v = tensors(4)
    bias = torch.zeros(1, 1, 5, 5, dtype=torch.bfloat16)
    bias[..., 3] = torch.finfo(torch.bfloat16).min
    scores = attention_scores(q, k, scale=1.0, bias=bias)
    assert bool(scores[..., 3].isneginf().all())
    assert bool(scores[..., :3].isfinite().all())


def test_a_query_that_may_see_no_key_gets_zeros_and_no_nan():
    q, k, v = tensors(2)
    allowed = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    allowed[1, :, 2] = False
    check(q, k, v, scale=1.0, bias=allowed, expected=reference(q, k, v, scale=1.0, allowed=allowed.numpy()))
    pattern = attention_pattern(attention_scores(q, k, scale=1.0, bias=allowed))
    assert bool((pattern[1, :, 2] == 0).all())


def test_gradients_stay_finite_where_a_query_sees_no_key():
    q, k, v = tensors(2)
    q.requires_grad_()
    allowed = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    allowed[..., 2, :] = False
    pattern = attention_pattern(attention_scores(q, k, scale=1.0, bias=allowed))
    mix_values(pattern, v).square().sum().backward()
    assert bool(q.grad.isfinite().all()) and bool((q.grad[:, :, 2] == 0).all()) and bool((q.grad != 0).any())


@pytest.mark.parametrize("causal", [False, True])
def test_sinks_take_their_share_of_each_head(causal):
    q, k, v = tensors(2)
    sinks = torch.tensor([0.0, 3.0, -2.0, 40.0], dtype=torch.float64)
    expected = reference(q, k, v, scale=0.5, allowed=TRIANGLE if causal else None, sinks=sinks.numpy())
    check(q, k, v, scale=0.5, causal=causal, sinks=sinks, expected=expected)
    assert bool((torch.from_numpy(expected[1]).sum(-1) < 1).all())


def test_queries_and_keys_may_differ_in_number():
    q, k, v = tensors(2, queries=2, keys=7)
    check(q, k, v, scale=1.0, expected=reference(q, k, v, scale=1.0))


def test_large_scores_do_not_overflow():
    q, k, v = tensors(4, dtype=torch.float32)
    pattern = attention_pattern(attention_scores(1e4 * q, k, scale=1.0))
    assert bool(pattern.isfinite().all())
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, HEADS, 5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_weighed_in_float32_and_mixed_in_its_own(dtype):
    q, k, v = tensors(2, dtype=dtype)
    scores = attention_scores(q, k, scale=0.4)
    pattern = attention_pattern(scores)
    assert scores.dtype == pattern.dtype == torch.float32
    assert mix_values(pattern, v).dtype == dtype
    _, expected, mixed = reference(q, k, v, scale=0.4)
    np.testing.assert_allclose(pattern.numpy(), expected, atol=2e-2)
    np.testing.assert_allclose(mix_values(pattern, v).double().numpy(), mixed, atol=5e-2)
