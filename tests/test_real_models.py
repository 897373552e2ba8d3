"""The hook layer on real weights: SmolLM2-135M and DINOv2-small."""

from __future__ import annotations

import copy

import pytest
import torch
from skimage import data

import steerlab as sl
from steerlab import zoo

PROMPT = "The capital of France is"
PADDED = ["The capital of France is", "One, two, three, four, five, six and then comes the number"]


@pytest.fixture(scope="module")
def smollm2():
    brought = zoo.load("smollm2")
    return brought.model, brought.processor


@pytest.fixture(scope="module")
def dinov2():
    brought = zoo.load("dinov2-saliency")
    photos = [data.chelsea(), data.astronaut()]
    return brought.model.backbone, brought.processor(images=photos, return_tensors="pt")["pixel_values"]


def eager_patterns(model, inputs) -> tuple[torch.Tensor, ...]:
    """What transformers itself returns when the whole model is switched to eager attention."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        return eager(**inputs, output_attentions=True).attentions


def test_with_nothing_attached_the_logits_are_bit_identical(smollm2):
    model, tokenizer = smollm2
    inputs = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        before = model(**inputs).logits
        held = sl.wrap(model, tokenizer)
        held.capture(inputs, at="blocks.*.resid")
        held.capture(inputs, at="blocks.*.pattern")
        after = model(**inputs).logits
    assert torch.equal(before, after)


def test_heads_of_every_block_are_zeroed_as_a_hand_written_hook_zeroes_them(smollm2):
    model, tokenizer = smollm2
    held = sl.wrap(model, tokenizer)
    inputs = tokenizer("Paris is the", return_tensors="pt")
    heads = held.heads()
    assert len(heads) == 270
    worst, changed = 0.0, 0
    with torch.no_grad():
        bare = model(**inputs).logits
        for site in heads[::4]:  # other heads in every next block
            block, head = int(site.place.split(".")[1]), int(site.heads)

            def zeroed(module, args, head=head):
                z = args[0].clone()
                z[..., head * 64 : (head + 1) * 64] = 0
                return (z,)

            handle = model.model.layers[block].self_attn.o_proj.register_forward_pre_hook(zeroed)
            truth = model(**inputs).logits
            handle.remove()
            with held.edit({site: sl.Zero()}):
                logits = model(**inputs).logits
            worst = max(worst, float((logits - truth).abs().max()))
            changed += not torch.equal(logits, bare)
    assert worst <= 1e-5
    assert changed == 68


def test_patterns_under_sdpa_equal_eager_in_all_blocks_of_a_left_padded_batch(smollm2):
    model, tokenizer = smollm2
    assert model.config._attn_implementation == "sdpa"
    inputs = tokenizer(PADDED, return_tensors="pt", padding=True)
    real = inputs["attention_mask"].bool()
    assert not real[0, 0]
    assert real[1].all()
    truth = eager_patterns(model, inputs)
    acts = sl.wrap(model, tokenizer).capture(inputs, at="blocks.*.pattern")
    assert len(acts) == 30
    for block in range(30):
        # a query that is padding sees no key: eager spreads it evenly, fused kernels give zero
        read, want = (p.transpose(1, 2)[real] for p in (acts[f"blocks.{block}.pattern"], truth[block]))
        assert torch.allclose(read, want, rtol=0, atol=1e-5)


def test_patterns_under_sdpa_equal_eager_in_all_blocks_of_a_real_vit(dinov2):
    """Block by block on the same stream: two float32 runs of the whole model drift by 2e-5 in block 3."""
    model, pixels = dinov2
    assert model.config._attn_implementation == "sdpa"
    acts = sl.wrap(model).capture(pixels, at=["blocks.*.pattern", "blocks.*.resid_pre"])
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    for i, block in enumerate(eager.encoder.layer):
        stream = acts[f"blocks.{i}.resid_pre"]
        block.register_forward_pre_hook(lambda module, args, stream=stream: (stream, *args[1:]))
    with torch.no_grad():
        truth = eager(pixels, output_attentions=True).attentions
    assert len(truth) == 12
    for i in range(12):
        assert torch.allclose(acts[f"blocks.{i}.pattern"], truth[i], rtol=0, atol=1e-5)


def test_patterns_of_whole_runs_under_sdpa_and_eager_agree_in_float64(dinov2):
    model, pixels = copy.deepcopy(dinov2[0]).double(), dinov2[1].double()
    truth = eager_patterns(model, {"pixel_values": pixels})
    acts = sl.wrap(model).capture(pixels, at="blocks.*.pattern")
    for i in range(12):
        assert torch.allclose(acts[f"blocks.{i}.pattern"], truth[i], rtol=0, atol=1e-10)


def test_with_nothing_attached_the_vit_is_bit_identical_and_its_heads_are_z(dinov2):
    model, pixels = dinov2
    with torch.no_grad():
        before = model(pixels).last_hidden_state
        held = sl.wrap(model)
        acts = held.capture(pixels, at=["blocks.*.heads", "blocks.*.attn"])
        assert torch.equal(before, model(pixels).last_hidden_state)
        for i, block in enumerate(model.encoder.layer):
            rebuilt = block.layer_scale1(block.attention.o_proj(acts[f"blocks.{i}.heads"].flatten(-2)))
            assert torch.allclose(rebuilt, acts[f"blocks.{i}.attn"], atol=1e-5)


def test_one_edited_pattern_leaves_every_other_block_its_kernel_and_its_bits(smollm2):
    model, tokenizer = smollm2
    held = sl.wrap(model, tokenizer)
    inputs = tokenizer(PADDED, return_tensors="pt", padding=True)
    before = held.capture(inputs, at="blocks.0:15.heads")
    with (
        held.edit({"blocks.15.pattern.3": sl.Zero()}),
        held.read("blocks.*.heads") as reading,
        torch.no_grad(),
    ):
        model(**inputs)
    after = reading.activations()
    assert all(torch.equal(before[site], after[site]) for site in before)
    assert not after["blocks.15.heads"][..., 3, :].any()
    assert model.config._attn_implementation == "sdpa"
