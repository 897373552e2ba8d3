"""Pictures: a seed is an image whatever its batch, edits and reads are those of hand-written hooks."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl

SIZE = {"height": 32, "width": 32, "steps": 3}
SITE = "unet.down.1.0.update"
VECTOR = torch.linspace(-2, 2, 32)


@pytest.fixture
def sd(held):
    return held("sdxl").model


def by_hand(pipe, prompt, seed, **more):
    """The user's own call."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"height": 32, "width": 32, "num_inference_steps": 3, "output_type": "latent"}
    return pipe(prompt, generator=generator, **{**sizes, **more}).images[0]


def test_an_image_is_its_seed_whatever_batch_it_is_made_in(sd):
    made = sd.generate("a red cat", seed=[4, 7, 5], batch=2, output_type="latent", **SIZE)
    assert made.seeds == [4, 7, 5] and made.prompts == ["a red cat"] * 3
    for image, seed in zip(made.images, made.seeds, strict=True):
        torch.testing.assert_close(image, by_hand(sd.module, "a red cat", seed), atol=5e-4, rtol=5e-4)


def test_one_number_counts_the_seeds_of_several_prompts(sd):
    made = sd.generate(["a red cat", "a blue dog"], seed=3, output_type="latent", **SIZE)
    assert made.seeds == [3, 4]
    other = by_hand(sd.module, "a blue dog", 4)
    torch.testing.assert_close(made.images[1], other, atol=5e-4, rtol=5e-4)


def test_the_guidance_is_the_pipelines_own(sd):
    made = sd.generate("a red cat", seed=1, guidance=1.0, output_type="latent", **SIZE)
    other = by_hand(sd.module, "a red cat", 1, guidance_scale=1.0)
    torch.testing.assert_close(made.images[0], other, atol=1e-6, rtol=1e-6)


def test_an_edit_acts_in_every_batch_and_has_one_receipt(sd):
    edit = {SITE: sl.Add(VECTOR).on(steps=[0, 2], branch="cond")}
    made = sd.generate("a red cat", edit=edit, seed=[0, 1, 2], batch=2, output_type="latent", **SIZE)
    entry = made.receipt[SITE]
    assert (entry.fires, entry.steps, entry.branches) == (4, {0, 2}, {"cond"})
    assert entry.tokens == 3 * 2 * 64  # images, steps, places
    with sd.edit(edit):
        other = by_hand(sd.module, "a red cat", 1)
    torch.testing.assert_close(made.images[1], other, atol=5e-4, rtol=5e-4)


def test_every_image_may_have_its_own_intervention(sd):
    edits = [{SITE: sl.Add(VECTOR)}, None, {SITE: sl.Scale(2.0).on(steps=1)}]
    made = sd.generate("a red cat", edit=edits, seed=[0, 1, 2], batch=2, output_type="latent", **SIZE)
    for image, edit, seed in zip(made.images, edits, made.seeds, strict=True):
        alone = sd.generate("a red cat", edit=edit, seed=seed, output_type="latent", **SIZE).images[0]
        torch.testing.assert_close(image, alone, atol=5e-4, rtol=5e-4)
    assert len(made.receipt) == 2


def test_what_is_read_on_the_way_is_what_a_hook_sees(sd):
    module, seen = sd.module.unet.down_blocks[1].attentions[0], []

    def look(_, args, output):
        seen.append((output[0] - args[0]).flatten(2).transpose(1, 2))

    handle = module.register_forward_hook(look)
    try:
        by_hand(sd.module, "a red cat", 6)
    finally:
        handle.remove()
    conditional = torch.stack([update[1:] for update in seen])
    during = sl.Scope(branch="cond", steps="1:")
    made = sd.generate("a red cat", seed=[6], at=SITE, during=during, output_type="latent", **SIZE)
    acts = made.activations
    torch.testing.assert_close(acts[SITE], conditional[1:], atol=1e-6, rtol=1e-6)
    assert acts.axes[sl.Site.parse(SITE)] == ("step", "batch", "token", "dim")
    assert [step.index for step in acts.steps] == [1, 2] and acts.steps[0].count == 3
    assert acts.grid(SITE).shape == (2, 1, 8, 8, 32)


def test_reads_of_several_batches_are_joined_in_the_order_of_the_images(sd):
    options = {"at": SITE, "during": sl.Scope(branch="cond"), "output_type": "latent", **SIZE}
    parts = sd.generate("a red cat", seed=[0, 1, 2], batch=2, **options).activations[SITE]
    whole = sd.generate("a red cat", seed=[0, 1, 2], batch=3, **options).activations[SITE]
    assert parts.shape == whole.shape == (3, 3, 64, 32)
    torch.testing.assert_close(parts, whole, atol=5e-4, rtol=5e-4)


def test_both_branches_are_kept_where_none_is_chosen(sd):
    acts = sd.generate("a red cat", seed=0, at=SITE, output_type="latent", **SIZE).activations
    assert acts[SITE].shape == (3, 2, 64, 32)


def test_a_comparison_draws_the_same_noise_base_and_edited(sd):
    inputs = {"prompt": ["a red cat", "a blue dog"], "seed": 5, **SIZE}
    result = sd.compare(inputs, {SITE: sl.Scale(4.0).on(branch="cond")}, controls=1)
    base = sd.generate(inputs["prompt"], seed=5, **SIZE).tensor()
    torch.testing.assert_close(result.base, base, atol=2 / 255, rtol=0)  # colours are rounded
    assert result.floor.max() <= 1e-3 and (result.effect > 10 * result.floor.clamp(min=1e-4)).all()
    assert result.controls.shape == (1, 2) and len(result.receipt) == 2  # one for each of the two images


def test_pictures_are_numbers_between_zero_and_one(sd):
    made = sd.generate("a red cat", seed=[0, 1], **SIZE)
    pixels = made.tensor()
    assert pixels.shape == (2, 3, 32, 32) and 0 <= pixels.min() < pixels.max() <= 1
    assert "seeds 0, 1" in repr(made) and len(made) == 2


def test_the_pipelines_bar_is_as_it_was(sd):
    before = dict(sd.module._progress_bar_config)
    sd.generate("a red cat", output_type="latent", **SIZE)
    assert sd.module._progress_bar_config == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stps": 3}, "no option 'stps'; did you mean 'steps'"),
        ({"num_inference_steps": 3}, "write steps= in place of num_inference_steps="),
        ({"num_images_per_prompt": 2}, "a list of seeds in place of num_images_per_prompt="),
        ({"edit": [None, None, None]}, "3 interventions for 2 images"),
        ({"seed": [1, 2, 3]}, "3 seeds for 2 prompts"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(sd, options, said):
    with pytest.raises(sl.SteerlabError, match=said):
        sd.generate(["a red cat", "a blue dog"], **options)


def test_a_prompt_must_be_text(sd):
    with pytest.raises(sl.SteerlabError, match="draws a prompt or a list of prompts"):
        sd.generate([1, 2])
