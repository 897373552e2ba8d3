"""Reading in the user's own calls: the last fire, every fire, and what each of them showed."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

import steerlab as sl


def test_a_context_reads_the_last_forward_of_the_users_own_calls(held):
    one = held("llama")
    with torch.no_grad(), one.model.read("blocks.1.resid") as reading:
        one.tiny.model(input_ids=one.tiny.inputs["input_ids"][:1, :3])
        assert reading.activations()["blocks.1.resid"].shape == (1, 3, 32)
        one.tiny.model(**one.tiny.inputs)
    captured = one.model.capture(one.tiny.inputs, at="blocks.1.resid")["blocks.1.resid"]
    assert torch.equal(reading.activations()["blocks.1.resid"], captured)


def test_every_fire_of_a_generation_is_kept_with_its_own_shape(held):
    one = held("llama")
    with torch.no_grad(), one.model.read("blocks.1.resid", every=True) as reading:
        one.tiny.model.generate(**one.tiny.inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert [tuple(x.shape) for x in reading.calls("blocks.1.resid")] == [(2, 7, 32), (2, 1, 32), (2, 1, 32)]
    with pytest.raises(sl.SteerlabError, match=r"different shapes.*read them by calls\('blocks.1.resid'\)"):
        reading.activations()
    with pytest.raises(
        sl.SteerlabError, match=r"blocks.2.resid is not read here; did you mean 'blocks.1.resid'"
    ):
        reading.calls("blocks.2.resid")


def test_what_is_read_in_a_context_carries_gradients(held):
    one = held("gpt2")
    model = copy.deepcopy(one.tiny.model).requires_grad_(True)
    with sl.wrap(model).read("blocks.0.resid") as reading:
        loss = model(**one.tiny.inputs).logits.square().sum()
    resid = reading.activations()["blocks.0.resid"]
    (gradient,) = torch.autograd.grad(loss, resid)
    assert gradient.shape == resid.shape
    assert gradient.abs().max() > 0
    assert not sl.wrap(model).capture(one.tiny.inputs, at="blocks.0.resid")["blocks.0.resid"].requires_grad


def test_a_site_that_did_not_run_is_an_error_that_names_it(held):
    one = held("clip")
    with one.model.read(["vision.blocks.0.resid", "text.blocks.0.resid"]) as reading:
        one.tiny.model.get_text_features(input_ids=one.tiny.inputs["input_ids"])
    with pytest.raises(sl.SteerlabError, match="^vision.blocks.0.resid: never ran in this forward"):
        reading.activations()


def test_a_stream_reads_batch_after_batch_and_leaves_nothing_between(held):
    one = held("vit")
    pixels = one.tiny.inputs["pixel_values"]
    batches = [pixels[:1], pixels[1:], pixels]
    rows = []
    for acts in one.model.stream(batches, at="blocks.1.resid", tokens="cls", progress=False):
        rows.append(acts["blocks.1.resid"])
        assert not one.tiny.model.layers[1]._forward_hooks
    assert [tuple(x.shape) for x in rows] == [(1, 1, 32), (1, 1, 32), (2, 1, 32)]
    assert torch.allclose(torch.cat(rows[:2]), rows[2], atol=1e-6)


def test_the_two_towers_of_a_clip_model_run_alone_when_only_they_are_asked_for(held):
    one, ran = held("clip"), []
    handle = one.tiny.model.text_model.register_forward_pre_hook(lambda *_: ran.append("text"))
    try:
        acts = one.model.capture(
            one.tiny.inputs["pixel_values"], at=["vision.blocks.1.resid", "vision.pooled"]
        )
    finally:
        handle.remove()
    assert not ran
    with torch.no_grad():
        whole = one.tiny.model(**one.tiny.inputs).vision_model_output.hidden_states
    assert whole is None or torch.equal(whole[2], acts["vision.blocks.1.resid"])
    assert acts["vision.pooled"].shape == (2, 24)


@pytest.mark.parametrize("family", ["clip_vision", "siglip2_vision", "videomae", "timm_vit"])
def test_what_was_read_keeps_its_grid_and_not_the_pixels(held, family):
    """A small activation that waits in a list must not keep a whole batch of images alive."""
    one = held(family)
    inputs = {name: value.clone() for name, value in one.tiny.inputs.items()}
    pixels = weakref.ref(next(value for value in inputs.values() if value.is_floating_point()))
    acts = one.model.capture(inputs, at="blocks.0.resid")
    del inputs
    gc.collect()
    assert pixels() is None
    described = one.model.family.towers[""].tokens(one.tiny.model, one.tiny.inputs, None)
    assert acts.map_of("blocks.0.resid").groups == described.groups
    assert acts.map_of("blocks.0.resid").grid == described.grid
