"""Law 2 for offload: edits and reads equal those without it, and the hooks of others go on working."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import accelerate
import diffusers
import pytest
import tiny
import torch
from accelerate.hooks import remove_hook_from_module
from denoising import generate, observe

import steerlab as sl

CPU = torch.device("cpu")
MODULES = ("text_encoder", "text_encoder_2", "unet", "vae")
EDITS = {
    "text_encoder.blocks.0.resid": sl.Add(torch.linspace(0, 1, 32)).on(branch="cond"),
    "unet.down.1.0.update": sl.Scale(1.5).on(steps=[1], branch="cond"),
    "unet.mid.0.blocks.0.self.heads": sl.Scale(0.5).on(heads=[1]),
    "unet.noise": sl.Add(torch.linspace(0.5, 1.0, 4)).on(steps=[0, 2], rows=[1]),
}
READS = ["unet.mid.0.update", "unet.latent", "text_encoder.blocks.1.resid"]


def model_offload(pipe: Any) -> None:
    """The chain of hooks that enable_model_cpu_offload installs: each model sends the one before it away."""
    hook, pipe._all_hooks = None, []
    for name in MODULES:
        _, hook = accelerate.cpu_offload_with_hook(getattr(pipe, name), CPU, prev_module_hook=hook)
        pipe._all_hooks.append(hook)
    pipe.enable_model_cpu_offload = lambda device=None: None  # asked for after each run


def sequential(pipe: Any) -> None:
    """Every submodule fetches its own weights, as enable_sequential_cpu_offload has it."""
    for name in MODULES:
        accelerate.cpu_offload(getattr(pipe, name), CPU, offload_buffers=True)


def blocks(pipe: Any) -> None:
    pipe.unet.enable_group_offload(
        onload_device=CPU, offload_device=CPU, offload_type="block_level", num_blocks_per_group=1
    )


def leaves(pipe: Any) -> None:
    pipe.enable_group_offload(onload_device=CPU, offload_device=CPU, offload_type="leaf_level")


def all_removed(pipe: Any) -> None:
    for name in MODULES:
        remove_hook_from_module(getattr(pipe, name), recurse=True)
    vars(pipe).pop("enable_model_cpu_offload", None)
    vars(pipe).pop("_all_hooks", None)


def group_removed(pipe: Any) -> None:
    for name in MODULES:
        diffusers.hooks.HookRegistry.check_if_exists_or_initialize(getattr(pipe, name)).remove_hook(
            "group_offloading", recurse=True
        )


OFFLOADS: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "model": (model_offload, all_removed),
    "sequential": (sequential, all_removed),
    "blocks": (blocks, group_removed),
    "leaves": (leaves, group_removed),
}


def edited(pipe: Any, model: sl.Model, inputs: dict) -> tuple[torch.Tensor, dict, list]:
    """Latents, what was read, and what the receipt says."""
    with model.edit(EDITS) as receipt, model.read(READS, every=True) as reading:
        image = generate(pipe, inputs)
    entries = [(e.fires, e.waits, e.tokens, e.steps, e.branches) for e in receipt]
    return image, {site: reading.calls(site) for site in READS}, entries


@pytest.fixture(scope="module")
def truth():
    made = tiny.tiny("sdxl")
    return generate(made.model, made.inputs), edited(made.model, sl.wrap(made.model), made.inputs)


def assert_same(found, truth) -> None:
    assert torch.equal(found[0], truth[0])
    for site in READS:
        assert len(found[1][site]) == len(truth[1][site])
        assert all(torch.equal(a, b) for a, b in zip(found[1][site], truth[1][site], strict=True))
    assert found[2] == truth[2]


@pytest.mark.parametrize("when", ["before wrapping", "after wrapping"])
@pytest.mark.parametrize(("install", "remove"), OFFLOADS.values(), ids=OFFLOADS)
def test_edits_and_reads_under_offload_equal_those_without(install, remove, when, truth):
    made = tiny.tiny("sdxl")
    pipe, (bare, expected) = made.model, truth
    if when == "before wrapping":
        install(pipe)
        model = sl.wrap(pipe)
    else:
        model = sl.wrap(pipe)
        install(pipe)
    assert_same(edited(pipe, model, made.inputs), expected)
    assert torch.equal(generate(pipe, made.inputs), bare)  # theirs go on alone
    remove(pipe)
    assert torch.equal(generate(pipe, made.inputs), bare)
    assert_same(edited(pipe, model, made.inputs), expected)


@pytest.mark.parametrize(("install", "remove"), OFFLOADS.values(), ids=OFFLOADS)
def test_offload_that_comes_and_goes_inside_a_context(install, remove, truth):
    made = tiny.tiny("sdxl")
    pipe, (bare, expected) = made.model, truth
    with sl.wrap(pipe).edit(EDITS):
        install(pipe)
        assert torch.equal(generate(pipe, made.inputs), expected[0])
        remove(pipe)
        assert torch.equal(generate(pipe, made.inputs), expected[0])
    assert torch.equal(generate(pipe, made.inputs), bare)


def test_offload_that_outlives_the_context_it_was_installed_in(truth):
    made = tiny.tiny("sdxl")
    for install, remove in OFFLOADS.values():
        with sl.wrap(made.model).edit(EDITS, strict=False):
            install(made.model)
        assert torch.equal(generate(made.model, made.inputs), truth[0])
        remove(made.model)
        assert torch.equal(generate(made.model, made.inputs), truth[0])


def test_weights_stored_in_half_precision_are_edited_in_the_precision_of_the_run():
    made = tiny.tiny("sdxl")
    pipe, edit = made.model, {"unet.noise": sl.Add(torch.ones(4)).on(branch="cond", steps=[0])}
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    model, bare = sl.wrap(pipe), observe(pipe, made.inputs)
    with model.edit(edit) as receipt:
        found = observe(pipe, made.inputs)
    assert torch.equal(found["noise"][0].chunk(2)[0], bare["noise"][0].chunk(2)[0])
    assert torch.equal(found["noise"][0].chunk(2)[1], bare["noise"][0].chunk(2)[1] + 1)
    assert (receipt["unet.noise"].dtype, receipt["unet.noise"].casts) == ("float32", 0)
    assert torch.equal(generate(pipe, made.inputs), bare["image"][0])
