"""Steps of a run: one count for every scheduler, every part of a schedule and every run in one context."""

from __future__ import annotations

import diffusers
import pytest
import torch
from denoising import generate, observe, with_scheduler

import steerlab as sl

# numpy 2 warns of torch tensors in diffusers' schedulers, which neither side of ours can change
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")

SCHEDULERS = {
    "Euler": ("EulerDiscreteScheduler", {}, 1),
    "Euler, Karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}, 1),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}, 1),
    "DDIM": ("DDIMScheduler", {}, 1),
    "DDPM": ("DDPMScheduler", {}, 1),
    "PNDM": ("PNDMScheduler", {"skip_prk_steps": True}, 1),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}, 1),
    "DPM++ 2M, Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, 1),
    "DPM++ single step": ("DPMSolverSinglestepScheduler", {"lower_order_final": True}, 1),
    "Heun": ("HeunDiscreteScheduler", {}, 2),
    "KDPM2": ("KDPM2DiscreteScheduler", {}, 2),
    "UniPC": ("UniPCMultistepScheduler", {}, 1),
    "LMS": ("LMSDiscreteScheduler", {}, 1),
    "LCM": ("LCMScheduler", {}, 1),
    "DEIS": ("DEISMultistepScheduler", {}, 1),
}
PARTS = {
    "strength 0.3": ({"strength": 0.3}, 3),
    "strength 0.5": ({"strength": 0.5}, 5),
    "strength 1": ({"strength": 1.0}, 10),
    "refiner": ({"denoising_start": 0.6}, 4),
}


def scaled(**scope) -> dict:
    return {"unet.noise": sl.Scale(1.1).on(**scope)}


def assert_steps(pipe, inputs, expected: set[int], count: int, **run) -> None:
    """The first and the last step of a run are those of its own count, and one more does not exist."""
    model = sl.wrap(pipe)
    with model.edit(scaled(steps=[0, -1])) as receipt:
        generate(pipe, inputs, **run)
    assert receipt["unet.noise"].steps == expected
    with pytest.raises(sl.SteerlabError, match=rf"step {count} does not exist: this run has {count} \(0 to"):
        with model.edit(scaled(steps=[count])):
            generate(pipe, inputs, **run)


@pytest.mark.parametrize(("name", "settings", "order"), SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_window_is_as_many_steps_whatever_the_scheduler(name, settings, order, held):
    pipe = with_scheduler(held("sd").tiny.model, name, **settings)
    with sl.wrap(pipe).edit(scaled(steps=range(2, 5), branch="cond")) as receipt:
        edited = observe(pipe, held("sd").tiny.inputs, num_inference_steps=6)
    bare = observe(pipe, held("sd").tiny.inputs, num_inference_steps=6)
    entry = receipt["unet.noise"]
    assert entry.steps == {2, 3, 4}
    assert (entry.fires, entry.fires + entry.waits) == (3 * order, len(edited["noise"]))
    same = [torch.equal(a, b) for a, b in zip(edited["noise"], bare["noise"], strict=True)]
    assert same.index(False) == {"PNDMScheduler": 3}.get(name, 2 * order)


def test_a_rounded_schedule_that_repeats_a_time_keeps_its_steps(held):
    pipe = with_scheduler(held("sd").tiny.model, "DPMSolverMultistepScheduler", use_karras_sigmas=True)
    pipe.scheduler.set_timesteps(60)
    times = pipe.scheduler.timesteps.tolist()
    assert len(set(times)) < len(times) == 60
    with sl.wrap(pipe).edit(scaled(steps=[59])) as receipt:
        generate(pipe, held("sd").tiny.inputs, num_inference_steps=60)
    assert receipt["unet.noise"].steps == {59}


def test_both_calls_of_a_step_share_its_noise_level(held):
    for name in ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler"):
        pipe = with_scheduler(held("sd").tiny.model, name)
        with sl.wrap(pipe).edit(scaled(steps="sigma:0.5:3")) as receipt:
            generate(pipe, held("sd").tiny.inputs, num_inference_steps=6)
        entry = receipt["unet.noise"]
        assert (entry.steps, entry.fires) == ({2, 3, 4}, 6)


def test_a_scheduler_that_is_not_understood_is_refused_for_steps_alone(held):
    pipe, inputs = with_scheduler(held("sd").tiny.model, "PNDMScheduler"), held("sd").tiny.inputs
    model, run = sl.wrap(pipe), {"num_inference_steps": 6}
    with pytest.raises(sl.SteerlabError, match=r"PNDMScheduler asks the denoiser 15 times for 6 steps"):
        with model.edit(scaled(steps=[2])):
            generate(pipe, inputs, **run)
    with model.edit(scaled(branch="cond")) as receipt:
        generate(pipe, inputs, **run)
    assert (receipt["unet.noise"].fires, receipt["unet.noise"].steps) == (15, set())


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "DDIMScheduler"])
@pytest.mark.parametrize(("part", "count"), PARTS.values(), ids=PARTS)
def test_a_part_of_a_schedule_has_steps_of_its_own(part, count, scheduler, held):
    base = with_scheduler(held("sdxl").tiny.model, scheduler)
    pipe = diffusers.StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    if "denoising_start" in part:
        image = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    if scheduler.startswith("Heun") and "denoising_start" in part:
        count = len(observe(pipe, held("sdxl").tiny.inputs, **_part(image, part))["noise"]) // 2 + 1
    assert_steps(pipe, held("sdxl").tiny.inputs, {0, count - 1}, count, **_part(image, part))


def _part(image, part) -> dict:
    return {"image": image, "height": ..., "width": ..., "num_inference_steps": 10, **part}


def test_inpainting_and_a_base_that_ends_early_count_what_they_take(held):
    one, mask = held("sdxl"), torch.zeros(2, 1, 16, 16)
    mask[..., 4:12] = 1
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pipe = diffusers.StableDiffusionXLInpaintPipeline(**one.tiny.model.components, add_watermarker=False)
    run = {"image": image, "mask_image": mask, "strength": 0.5, "num_inference_steps": 10}
    assert_steps(pipe, one.tiny.inputs, {0, 4}, 5, **run)
    assert_steps(one.tiny.model, one.tiny.inputs, {0, 5}, 6, num_inference_steps=10, denoising_end=0.6)


@pytest.mark.parametrize("given", [{"timesteps": [900, 500, 100]}, {"sigmas": [9.0, 2.0, 0.5, 0.0]}], ids=str)
def test_a_schedule_of_the_users_own(given, held):
    one = held("sdxl")
    generate(one.tiny.model, one.tiny.inputs, num_inference_steps=2)
    assert_steps(one.tiny.model, one.tiny.inputs, {0, 2}, 3, num_inference_steps=..., **given)


def test_two_runs_in_one_context_see_the_same_steps(held):
    one, scope = held("sdxl"), {"steps": [1, 3], "branch": "cond"}
    receipts, images = [], []
    for _ in range(2):
        with one.model.edit(scaled(**scope)) as receipt:
            images.append(generate(one.tiny.model, one.tiny.inputs, num_inference_steps=5))
        receipts.append(str(receipt))
    with one.model.edit(scaled(**scope)) as receipt:
        for _ in range(2):
            images.append(generate(one.tiny.model, one.tiny.inputs, num_inference_steps=5))
    assert receipts[0] == receipts[1]
    assert all(torch.equal(image, images[0]) for image in images)
    entry = receipt["unet.noise"]
    assert (entry.steps, entry.fires, entry.waits) == ({1, 3}, 4, 6)


def test_a_run_after_one_that_broke_off_starts_anew(held):
    one = held("sdxl")
    run = {"num_inference_steps": 5}

    def stop(pipe, step, time, kwargs):
        if step == 2:
            raise KeyboardInterrupt
        return kwargs

    with one.model.edit(scaled(steps=[4], branch="cond")):
        truth = generate(one.tiny.model, one.tiny.inputs, **run)
    with one.model.edit(scaled(steps=[4], branch="cond")) as receipt:
        with pytest.raises(KeyboardInterrupt):
            generate(one.tiny.model, one.tiny.inputs, callback_on_step_end=stop, **run)
        assert not receipt["unet.noise"].fires
        assert torch.equal(generate(one.tiny.model, one.tiny.inputs, **run), truth)
    assert receipt["unet.noise"].steps == {4}


def test_guidance_that_changes_between_runs_and_within_one(held):
    one = held("sdxl")

    def quiet(pipe, step, time, kwargs):
        if step == 2:  # as diffusers documents it: guidance off for the rest of the run
            pipe._guidance_scale = 0.0
            kwargs = {name: value.chunk(2)[-1] for name, value in kwargs.items()}
        return kwargs

    names = ["prompt_embeds", "add_text_embeds", "add_time_ids"]
    with one.model.edit(scaled(branch="uncond")) as receipt:
        generate(one.tiny.model, one.tiny.inputs, num_inference_steps=4)
        generate(one.tiny.model, one.tiny.inputs, num_inference_steps=4, guidance_scale=1.0)
        generate(
            *(one.tiny.model, one.tiny.inputs),
            num_inference_steps=5,
            callback_on_step_end=quiet,
            callback_on_step_end_tensor_inputs=names,
        )
    assert (receipt["unet.noise"].fires, receipt["unet.noise"].waits) == (4 + 3, 4 + 2)
    with pytest.raises(
        sl.SteerlabError, match=r"never had its time: the site fired 3 times on cond, in 3 ste"
    ):
        with one.model.edit(scaled(branch="uncond")):
            generate(one.tiny.model, one.tiny.inputs, guidance_scale=1.0)


def test_a_scheduler_exchanged_between_runs_is_heard_and_left(held):
    one = held("sd")
    pipe = with_scheduler(one.tiny.model, "DDIMScheduler")
    schedulers = [pipe.scheduler, diffusers.HeunDiscreteScheduler.from_config(pipe.scheduler.config)]
    with sl.wrap(pipe).edit(scaled(steps=[1])) as receipt:
        for scheduler in [*schedulers, schedulers[0]]:
            pipe.scheduler = scheduler
            generate(pipe, one.tiny.inputs, num_inference_steps=4)
    assert (receipt["unet.noise"].steps, receipt["unet.noise"].fires) == ({1}, 1 + 2 + 1)
    for scheduler in schedulers:
        assert not {"step", "set_timesteps"} & set(vars(scheduler))
