"""Batches that hold guidance branches in other orders, batches of unknown order, and prompts by branch."""

from __future__ import annotations

import diffusers
import pytest
import tiny
import torch
from denoising import generate, observe

import steerlab as sl

VECTOR = torch.linspace(0.5, 1.0, 4)


def perturbed(kind: str, held):
    parts = held(kind).tiny.model.components
    if kind == "sdxl":
        return diffusers.StableDiffusionXLPAGPipeline(
            **parts, pag_applied_layers=["mid"], add_watermarker=False
        )
    return diffusers.StableDiffusionPAGPipeline(
        **parts, pag_applied_layers=["mid"], requires_safety_checker=False
    )


def instructed(kind: str, held):
    parts = dict(held(kind).tiny.model.components)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wider = diffusers.UNet2DConditionModel.from_config(dict(parts["unet"].config) | {"in_channels": 8})
        parts["unet"] = tiny.perturb(wider, 0.05)
    if kind == "sdxl":
        parts = {
            name: part for name, part in parts.items() if name not in ("image_encoder", "feature_extractor")
        }
        return diffusers.StableDiffusionXLInstructPix2PixPipeline(**parts)
    return diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)


def picture(kind: str) -> dict:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return {"image": image} | ({} if kind == "sdxl" else {"height": ..., "width": ...})


LAYOUTS = {
    "perturbed attention": (
        perturbed,
        {},
        {"guidance_scale": 5.0, "pag_scale": 3.0},
        ("uncond", "cond", "perturbed"),
        (-4.0, 8.0, -3.0),
    ),
    "perturbed alone": (
        perturbed,
        {},
        {"guidance_scale": 1.0, "pag_scale": 3.0},
        ("cond", "perturbed"),
        (4.0, -3.0),
    ),
    "perturbed, switched off": (
        perturbed,
        {},
        {"guidance_scale": 5.0, "pag_scale": 0.0},
        ("uncond", "cond"),
        (-4.0, 5.0),
    ),
    "instructed": (
        instructed,
        picture,
        {"guidance_scale": 5.0, "image_guidance_scale": 1.5},
        ("cond", "image", "uncond"),
        (5.0, -3.5, -0.5),
    ),
    "instructed, unguided": (instructed, picture, {"guidance_scale": 1.0}, ("cond",), (1.0,)),
}


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize(("make", "more", "run", "branches", "shares"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_branch_moves_the_guided_prediction_by_its_share(make, more, run, branches, shares, kind, held):
    pipe, inputs = make(kind, held), held(kind).tiny.inputs
    model, run = sl.wrap(pipe), {**run, **(more(kind) if more else {}), "num_inference_steps": 2}
    bare = observe(pipe, inputs, **run)
    for place, (branch, share) in enumerate(zip(branches, shares, strict=True)):
        with model.edit({"unet.noise": sl.Add(VECTOR).on(branch=branch, rows=[1], steps=0)}) as receipt:
            edited = observe(pipe, inputs, **run)
        moved = [not torch.equal(a, b) for a, b in zip(bare["noise"][0], edited["noise"][0], strict=True)]
        assert moved == [row == 2 * place + 1 for row in range(2 * len(branches))]
        expected = torch.stack([torch.zeros(4), share * VECTOR])[:, :, None, None]
        told = edited["guided"][0] - bare["guided"][0]
        torch.testing.assert_close(told, expected.expand_as(told), rtol=0, atol=2e-4)
        assert receipt["unet.noise"].branches == {branch}


class Thrice(diffusers.StableDiffusionPipeline):
    """Somebody's own loop, which repeats the latents three times."""

    @torch.no_grad()
    def __call__(self, prompt, num_inference_steps, **ignored):
        embeds, _ = self.encode_prompt(prompt, "cpu", 1, False)
        latents = self.prepare_latents(2, 4, 16, 16, embeds.dtype, "cpu", torch.Generator().manual_seed(0))
        self.scheduler.set_timesteps(num_inference_steps)
        for time in self.scheduler.timesteps:
            noise = self.unet(torch.cat([latents] * 3), time, torch.cat([embeds] * 3)).sample
            latents = self.scheduler.step(noise.chunk(3)[1], time, latents).prev_sample
        self.maybe_free_model_hooks()
        return latents


class Swapped(Thrice):
    """A loop of one's own whose batch looks like that of everybody."""

    @torch.no_grad()
    def __call__(self, prompt, num_inference_steps, **ignored):
        embeds, _ = self.encode_prompt(prompt, "cpu", 1, False)
        latents = self.prepare_latents(2, 4, 16, 16, embeds.dtype, "cpu", torch.Generator().manual_seed(0))
        self.scheduler.set_timesteps(num_inference_steps)
        noise = self.unet(torch.cat([latents] * 2), self.scheduler.timesteps[0], torch.cat([embeds] * 2))
        return noise.sample.chunk(2)[0]


@pytest.mark.parametrize("scope", [{"branch": "cond"}, {"rows": [0]}], ids=str)
@pytest.mark.parametrize("kind", [Thrice, Swapped])
def test_a_loop_of_ones_own_is_refused_for_branches_and_rows_alone(kind, scope, held):
    pipe = kind(**held("sd").tiny.model.components, requires_safety_checker=False)
    model, run = sl.wrap(pipe), {"prompt": ["a red cat", "a blue dog"], "num_inference_steps": 3}
    with pytest.raises(sl.SteerlabError, match=rf"{kind.__name__} runs in a way of its own.*LAYOUTS\['"):
        with model.edit({"unet.noise": sl.Add(VECTOR).on(**scope)}):
            pipe(**run)
    for free in ({}, {"steps": [0]}, {"branch": "both"}):
        with model.edit({"unet.noise": sl.Add(VECTOR).on(**free)}) as receipt:
            pipe(**run)
        assert 0 in receipt["unet.noise"].steps


def test_a_loop_whose_layout_is_written_down_is_understood(held, monkeypatch):
    monkeypatch.setitem(sl.runs.guidance.LAYOUTS, "Thrice", lambda _: {3: ("image", "cond", "uncond")})
    pipe = Thrice(**held("sd").tiny.model.components, requires_safety_checker=False)
    run = {"prompt": ["a red cat", "a blue dog"], "num_inference_steps": 1}
    model, bare = sl.wrap(pipe), pipe(**run)
    with model.edit({"unet.noise": sl.Add(VECTOR).on(branch="image")}):
        assert torch.equal(pipe(**run), bare)
    with model.edit({"unet.noise": sl.Add(VECTOR).on(branch="cond", rows=[1])}):
        moved = pipe(**run)
    assert torch.equal(moved[0], bare[0]) and not torch.equal(moved[1], bare[1])


def by_hand(pipe, steps: int = 3, *, stands_still: bool = False) -> None:
    """A bare loop over the denoiser."""
    pipe.scheduler.set_timesteps(steps)
    latents, words = torch.zeros(4, 4, 8, 8), torch.zeros(4, 5, 32)
    with torch.no_grad():
        for time in pipe.scheduler.timesteps:
            noise = pipe.unet(latents, time, words).sample
            latents = latents if stands_still else pipe.scheduler.step(noise, time, latents).prev_sample


def test_a_bare_loop_knows_its_steps_and_not_its_branches(held):
    one = held("sd")
    with one.model.edit({"unet.noise": sl.Add(VECTOR).on(steps=[1])}) as receipt:
        generate(one.tiny.model, one.tiny.inputs)
        by_hand(one.tiny.model, 7)
    assert (receipt["unet.noise"].steps, receipt["unet.noise"].fires) == ({1}, 2)
    for scope in ({"branch": "uncond"}, {"rows": [0]}):
        with pytest.raises(sl.SteerlabError, match=r"outside of a call of StableDiffusionPipeline it is not"):
            with one.model.edit({"unet.noise": sl.Add(VECTOR).on(**scope)}):
                by_hand(one.tiny.model)
        with pytest.raises(sl.SteerlabError, match=r"outside of a call of StableDiffusionPipeline it is not"):
            with one.model.edit({"unet.noise": sl.Add(VECTOR).on(**scope)}):
                generate(one.tiny.model, one.tiny.inputs)
                by_hand(one.tiny.model)
        with pytest.raises(sl.SteerlabError, match=r"outside of a call of StableDiffusionPipeline it is not"):
            with one.model.edit({"unet.noise": sl.Add(VECTOR).on(**scope)}), torch.no_grad():
                one.tiny.model.unet(torch.zeros(4, 4, 8, 8), 1, torch.zeros(4, 5, 32))


def test_a_scheduler_that_stands_still_counts_no_steps(held):
    one = held("sd")
    with pytest.raises(sl.SteerlabError, match=r"is told the time \d+ where the scheduler stands at \d+"):
        with one.model.edit({"unet.noise": sl.Add(VECTOR).on(steps=[1])}):
            by_hand(one.tiny.model, stands_still=True)


def test_a_forward_after_the_run_is_no_step_of_it(held):
    one = held("sd")
    with pytest.raises(sl.SteerlabError, match=r"steps=\[1\]: this forward comes after the pipeline's run"):
        with one.model.edit({"unet.noise": sl.Add(VECTOR).on(steps=[1])}):
            generate(one.tiny.model, one.tiny.inputs)
            one.tiny.model.unet(torch.zeros(4, 4, 8, 8), 1, torch.zeros(4, 5, 32))


def conditions(pipe, inputs, **run) -> torch.Tensor:
    """What the denoiser is told of the prompts, both halves, by a hand-written hook."""
    given = []
    handle = pipe.unet.register_forward_pre_hook(
        lambda m, a, kwargs: given.append(kwargs["encoder_hidden_states"].clone()), with_kwargs=True
    )
    try:
        generate(pipe, inputs, num_inference_steps=1, **run)
    finally:
        handle.remove()
    return given[0]


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_prompts_are_edited_by_branch(kind, held):
    one, site = held(kind), "text_encoder.blocks.0.resid"
    run = {"negative_prompt": ["blue", "Monday"]}
    bare = conditions(one.tiny.model, one.tiny.inputs, **run)
    for branch, half in (("uncond", 0), ("cond", 1)):
        with one.model.edit({site: sl.Add(torch.linspace(0, 1, 32)).on(branch=branch, rows=[1])}) as receipt:
            told = conditions(one.tiny.model, one.tiny.inputs, **run)
        moved = [not torch.equal(a, b) for a, b in zip(bare, told, strict=True)]
        assert moved == [row == 2 * half + 1 for row in range(4)]
        assert (receipt[site].fires, receipt[site].waits, receipt[site].branches) == (1, 1, {branch})


def test_a_branch_that_is_not_encoded_never_has_its_time(held):
    one, site = held("sdxl"), "text_encoder.blocks.0.resid"
    never = r"text_encoder.blocks.0.resid: .*branch='{}'\) never had its time: the site fired 1 times on {}"
    with pytest.raises(sl.SteerlabError, match=never.format("uncond", "cond")):
        with one.model.edit({site: sl.Zero().on(branch="uncond")}):  # SDXL takes zeros for an empty prompt
            generate(one.tiny.model, one.tiny.inputs, num_inference_steps=1)
    given = {"prompt_embeds": torch.zeros(2, 16, 64), "pooled_prompt_embeds": torch.zeros(2, 24)}
    run = {"prompt": None, "negative_prompt": ["blue", "Monday"], "num_inference_steps": 1, **given}
    with pytest.raises(sl.SteerlabError, match=never.format("cond", "uncond")):
        with one.model.edit({site: sl.Zero().on(branch="cond")}):
            generate(one.tiny.model, one.tiny.inputs, **run)
    with one.model.edit({site: sl.Zero().on(branch="uncond")}) as receipt:
        generate(one.tiny.model, one.tiny.inputs, **run)
    assert receipt[site].fires == 1


def test_a_word_of_the_prompt_is_chosen_in_the_text_encoder(held):
    one, site = held("sdxl"), "text_encoder.blocks.0.resid"
    with one.model.read(site, every=True) as bare:
        generate(one.tiny.model, one.tiny.inputs, num_inference_steps=1)
    edit = sl.Add(torch.ones(32)).on(tokens="word:red", branch="cond")
    with one.model.edit({site: edit}) as receipt, one.model.read(site, every=True) as edited:
        generate(one.tiny.model, one.tiny.inputs, num_inference_steps=1)
    moved = (bare.calls(site)[0] != edited.calls(site)[0]).any(-1)
    assert moved.nonzero().tolist() == [[0, 2]]  # <bos> a red cat
    assert receipt[site].tokens == 1
