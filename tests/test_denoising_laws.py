"""The denoising clock against hand-written hooks: which half is steered, when, where, on which image."""

from __future__ import annotations

import pytest
import torch
from denoising import SITE, denoiser, generate, observe

import steerlab as sl

FAMILIES = ("sd", "sdxl", "pixart")


def ones(family: str) -> torch.Tensor:
    """A vector of as many channels as the denoiser gives."""
    return torch.linspace(0.5, 1.0, 8 if family == "pixart" else 4)


def assert_touched(bare: dict, edited: dict, steps: set[int], count: int) -> None:
    """Before the window every forward is bit-identical; every forward inside it is given another output."""
    assert len(bare["noise"]) == len(edited["noise"]) == count
    for step in range(min(steps)):
        assert torch.equal(bare["noise"][step], edited["noise"][step])
    assert not torch.equal(bare["noise"][min(steps)], edited["noise"][min(steps)])


@pytest.mark.parametrize("scale", [1.5, 5.0, 12.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_branch_moves_the_guided_prediction_by_its_share_of_the_guidance(family, scale, held):
    one, vector = held(family), ones(family)
    run = {"num_inference_steps": 2, "guidance_scale": scale}
    bare = observe(one.tiny.model, one.tiny.inputs, **run)["guided"][0]
    for branch, share in (("cond", scale), ("uncond", 1 - scale), ("both", 1.0), (None, 1.0)):
        with one.model.edit({SITE[family]: sl.Add(vector).on(branch=branch)}) as receipt:
            guided = observe(one.tiny.model, one.tiny.inputs, **run)["guided"][0]
        moved = share * vector[: guided.shape[1], None, None]
        # float32: g times two rounding errors of predictions of size 10 or less
        torch.testing.assert_close(guided - bare, moved.expand_as(bare), rtol=0, atol=3e-5 * scale)
        assert receipt[SITE[family]].branches == ({branch} if share not in (1.0,) else {"cond", "uncond"})


def test_rescaled_guidance_is_steered_on_the_branch_alone(held):
    one, run = held("sdxl"), {"num_inference_steps": 2, "guidance_rescale": 0.7}
    bare = observe(one.tiny.model, one.tiny.inputs, **run)
    with one.model.edit({"unet.noise": sl.Add(ones("sdxl")).on(branch="cond", steps=0)}):
        edited = observe(one.tiny.model, one.tiny.inputs, **run)
    uncond, cond = edited["noise"][0].chunk(2)
    assert torch.equal(uncond, bare["noise"][0].chunk(2)[0])
    assert torch.equal(cond, bare["noise"][0].chunk(2)[1] + ones("sdxl")[:, None, None])
    assert not torch.allclose(edited["guided"][0], bare["guided"][0])


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_window_of_thirty_steps_is_touched_exactly(family, held):
    one, seen = held(family), []
    run = {"num_inference_steps": 30}
    bare = observe(one.tiny.model, one.tiny.inputs, **run)

    def mark(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return x + 1

    with one.model.edit({SITE[family]: sl.Fn(mark).on(steps=range(5, 21))}) as receipt:
        edited = observe(one.tiny.model, one.tiny.inputs, **run)
    assert_touched(bare, edited, set(range(5, 21)), 30)
    assert len(seen) == 16
    for step in range(30):  # what the denoiser gave, by a hook that fires after the edit
        given = edited["noise"][step]
        is_marked = any(torch.equal(given, x.movedim(-1, 1).reshape(given.shape) + 1) for x in seen)
        assert is_marked == (5 <= step < 21)
    assert receipt[SITE[family]].steps == set(range(5, 21))
    assert (receipt[SITE[family]].fires, receipt[SITE[family]].waits) == (16, 14)


CHOICES = {
    "list": ([1, 3], {1, 3}),
    "slice": (slice(1, 4), {1, 2, 3}),
    "text": ("2:5", {2, 3, 4}),
    "number as text": ("2", {2}),
    "negative": (-1, {9}),
    "negative list": ([-2, 0], {0, 8}),
    "open slice": ("7:", {7, 8, 9}),
    "fraction": ("fraction:0.2:0.5", {2, 3, 4}),
    "whole": ("fraction:0:1", set(range(10))),
}


@pytest.mark.parametrize(("steps", "expected"), CHOICES.values(), ids=CHOICES)
def test_every_way_to_choose_steps(steps, expected, held):
    one = held("sd")
    with one.model.edit({"unet.noise": sl.Scale(1.1).on(steps=steps)}) as receipt:
        generate(one.tiny.model, one.tiny.inputs, num_inference_steps=10)
    assert receipt["unet.noise"].steps == expected


@pytest.mark.parametrize("window", ["sigma:1:6", "timestep:300:700"])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_windows_of_noise_are_those_of_the_schedule(family, window, held):
    one = held(family)
    scheduler = one.tiny.model.scheduler
    scheduler.set_timesteps(10)
    times = scheduler.timesteps.tolist()
    share = scheduler.alphas_cumprod[[round(time) for time in times]]
    sigmas = scheduler.sigmas.tolist() if family == "sdxl" else ((1 - share) / share).sqrt().tolist()
    unit, low, high = window.split(":")
    levels = sigmas if unit == "sigma" else times
    expected = {i for i, time in enumerate(times) if float(low) <= levels[i] <= float(high)}
    assert 0 < len(expected) < 10
    with one.model.edit({"unet.noise": sl.Scale(1.1).on(steps=window)}) as receipt:
        generate(one.tiny.model, one.tiny.inputs, num_inference_steps=10)
    assert receipt["unet.noise"].steps == expected


def test_a_ramp_and_a_list_of_strengths_are_the_weights_of_their_steps(held):
    one, run = held("sdxl"), {"num_inference_steps": 6}
    listed = (0.5, 0.0, 0.25, 1.0, 0.0, 0.75)
    weights = {
        listed: ({}, listed),
        sl.Ramp(0.0, 1.0): ({}, tuple(i / 5 for i in range(6))),
        sl.Ramp(1.0, 0.5): ({"steps": [1, 2, 4]}, (0, 1.0, 0.75, 0, 0.5, 0)),
    }
    for strength, (scope, expected) in weights.items():
        before: list[torch.Tensor] = []

        def keep(x: torch.Tensor, before=before) -> torch.Tensor:
            before.append(x.clone())
            return x

        edit = sl.Add(ones("sdxl")).on(strength=strength, **scope)
        with (
            one.model.edit({"unet.noise": sl.Fn(keep)}, strict=False),
            one.model.edit({"unet.noise": edit}) as receipt,
        ):
            after = observe(one.tiny.model, one.tiny.inputs, **run)["noise"]
        for x, given, weight in zip(before, after, expected, strict=True):
            raw = x.movedim(-1, 1).reshape(given.shape)
            torch.testing.assert_close(given - raw, weight * ones("sdxl")[:, None, None].expand_as(raw))
            assert torch.equal(given, raw) == (weight == 0)
        chosen = set(range(6)) if not scope else set(scope["steps"])
        assert receipt["unet.noise"].steps == {i for i in chosen if expected[i]}


REGIONS = (
    "unet.latent",
    "unet.noise",
    *(
        f"unet.{place}.{stream}"
        for place in ("down.1.0", "down.2.0", "mid.0")
        for stream in ("update", "resid")
    ),
)


@pytest.mark.parametrize("size", [(16, 16), (31, 45)], ids=str)
def test_a_region_changes_itself_alone_at_every_resolution(size, held):
    one = held("sdxl")
    mask = torch.zeros(size)
    mask[: size[0] // 2, : size[1] // 2] = 1
    mask[: size[0] // 4, : size[1] // 2] = 0.5
    for site in REGIONS:
        given = []

        def lift(x: torch.Tensor, given=given) -> torch.Tensor:
            given.append(x.clone())
            return x + 1

        with (
            one.model.edit({site: sl.Fn(lift).on(region=mask, steps=0, branch="cond")}),
            one.model.read(site, every=True) as reading,
        ):
            generate(one.tiny.model, one.tiny.inputs, num_inference_steps=1, height=32, width=32)
        before, after = given[0].chunk(2), reading.calls(site)[0].chunk(2)
        assert torch.equal(before[0], after[0])
        side = int(before[1].shape[1] ** 0.5)
        # the steered quarter, at any resolution that divides the image
        inside = torch.zeros(side, side, dtype=torch.bool)
        inside[: -(-side // 2), : -(-side // 2)] = True
        moved = (after[1] - before[1]).reshape(-1, side, side, before[1].shape[-1])
        assert torch.equal((moved != 0).all(-1).any(0) & ~inside, torch.zeros_like(inside))
        if size == (16, 16) and side > 1:
            assert (moved[:, : side // 2, : side // 2] != 0).all()
            assert torch.equal(
                before[1].reshape(moved.shape)[:, ~inside], after[1].reshape(moved.shape)[:, ~inside]
            )


def test_a_row_is_an_image_in_both_halves(held):
    one, run = held("sdxl"), {"num_inference_steps": 2, "num_images_per_prompt": 3}
    bare = observe(one.tiny.model, one.tiny.inputs, **run)
    for branch, rows in ((None, {1, 7}), ("cond", {7}), ("uncond", {1})):
        with one.model.edit({"unet.noise": sl.Add(ones("sdxl")).on(rows=[1], branch=branch, steps=0)}):
            edited = observe(one.tiny.model, one.tiny.inputs, **run)
        moved = [not torch.equal(a, b) for a, b in zip(bare["noise"][0], edited["noise"][0], strict=True)]
        assert {row for row, one_moved in enumerate(moved) if one_moved} == rows
        changed = [not torch.equal(a, b) for a, b in zip(bare["image"][0], edited["image"][0], strict=True)]
        assert changed == [False, True, False, False, False, False]


@pytest.mark.parametrize("family", ["sdxl", "pixart"])
def test_a_list_of_interventions_makes_the_images_of_single_runs(family, held):
    one, site = held(family), SITE[family]
    place = "unet.mid.0.update" if family == "sdxl" else "transformer.blocks.1.resid"
    width = 32
    arms = [None, {place: sl.Add(torch.ones(width))}, {site: sl.Scale(1.2).on(branch="cond", steps="1:")}]

    def run(prompts: list[str], seeds: list[int]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        inputs = one.tiny.inputs | {"prompt": prompts}
        return generate(one.tiny.model, inputs, generator=generators)

    prompts = ["a red cat", "a blue dog", "a green house"]
    with one.model.edit(arms):
        together = run(prompts, [0, 1, 2])
    for number, arm in enumerate(arms):
        alone_bare = run(prompts[number : number + 1], [number])
        if arm is None:
            torch.testing.assert_close(together[number], alone_bare[0], rtol=1e-4, atol=1e-4)
            continue
        with one.model.edit(arm):
            alone = run(prompts[number : number + 1], [number])
        torch.testing.assert_close(together[number], alone[0], rtol=1e-4, atol=1e-4)
        assert (alone - alone_bare).abs().max() > 1e-2


def test_what_stands_still_leaves_the_image_as_it_was(held):
    one = held("sdxl")
    bare = generate(one.tiny.model, one.tiny.inputs)
    empty = {"unet.noise": sl.Add(ones("sdxl")).on(steps=range(1, 2), strength=0.0)}
    with one.model.edit(empty):
        assert torch.equal(generate(one.tiny.model, one.tiny.inputs), bare)
    assert torch.equal(generate(one.tiny.model, one.tiny.inputs), bare)
    assert not denoiser(one.tiny.model)._forward_hooks
