"""What is said of steps, branches and strengths that a pipeline does not have, and how to write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import build
from denoising import generate
from mistakes import at_resid, check, on

import steerlab as sl


def draw(site: str = "unet.noise", family: str = "sd", **scope: Any) -> Callable[[], None]:
    """A run of three steps under an edit."""

    def call() -> None:
        one = build(family)
        with one.model.edit({site: sl.Scale(1.1).on(**scope)}):
            generate(one.tiny.model, one.tiny.inputs)

    return call


def scope(**choices: Any) -> Callable[[], None]:
    return lambda: sl.Zero().on(**choices)


WINDOWS = "(both ends included)"

# name: (what was done, how the message starts, what else it says)
MISTAKES = {
    "words for steps": (
        scope(steps="early"),
        "steps='early': give a number, a list, a range or '5:21', or a window such as 'fraction:0.2:0.7'",
        WINDOWS,
    ),
    "fraction for steps": (scope(steps=0.5), "steps=0.5: give a number, a list, a range or '5:21'", WINDOWS),
    "half a window": (scope(steps="sigma:1"), "steps='sigma:1': give a number, a list", WINDOWS),
    "window backwards": (
        scope(steps="fraction:0.7:0.2"),
        "steps='fraction:0.7:0.2' ends before it begins; write fraction:0.2:0.7",
    ),
    "step out of range": (
        draw(steps=[1, 7]),
        "unet.noise: step 7 does not exist: this run has 3 (0 to 2)",
    ),
    "negative step out of range": (
        draw(steps=-4),
        "unet.noise: step -4 does not exist: this run has 3 (0 to 2)",
    ),
    "steps of a language model": (
        on(steps=[1]),
        "blocks.1.resid: steps=[1]: this model does not denoise",
    ),
    "branch of a language model": (
        on(branch="cond"),
        "blocks.1.resid: branch='cond': this model is not guided",
    ),
    "steps of a text encoder": (
        draw("text_encoder.blocks.0.resid", steps=[1]),
        "text_encoder.blocks.0.resid: steps=[1]: prompts are encoded before the denoising steps",
    ),
    "branch misspelt": (
        draw(branch="perturbd"),
        "unet.noise: branch='perturbd'; did you mean 'perturbed'? (this run has: uncond, cond)",
    ),
    "no branch": (scope(branch=1), "branch=1: give 'cond', 'uncond' or 'both'"),
    "branch that this run lacks": (
        draw(branch="perturbed"),
        "unet.noise: Scale(1.1).on(branch='perturbed') never had its time: the site fired 3 times on ",
        ", in 3 steps (strict=False accepts this)",
    ),
    "window without a step": (
        draw(steps="sigma:100:200"),
        "unet.noise: Scale(1.1).on(steps='sigma:100:200') never had its time: the site fired 3 times",
        ", in 3 steps (strict=False accepts this)",
    ),
    "strength above one in a list": (
        scope(strength=[0.5, 2]),
        "strength=[0.5, 2]: a scope's strength is a number in [0, 1], a Ramp or a list of numbers",
    ),
    "no strengths": (scope(strength=[]), "strength=[]: a scope's strength is a number in [0, 1], a Ramp"),
    "ramp above one": (
        lambda: sl.Ramp(0, 2),
        "Ramp(first=0, last=2): the weights of a ramp are numbers in [0, 1]",
    ),
    "strengths of another run": (
        draw(strength=[0.5, 1.0]),
        "unet.noise: strength holds 2 numbers, this run has 3 steps",
    ),
    "ramp over noise levels": (
        draw(steps="sigma:0:20", strength=sl.Ramp()),
        "unet.noise: a Ramp over steps='sigma:0:20': which steps of the run these are is known only as they",
        "choose steps by number or fraction",
    ),
    "image out of range": (draw(rows=[5]), "unet.noise: row 5 does not exist: there are 2 (0 to 1)"),
    "region of a prompt": (
        draw("text_encoder.blocks.0.resid", region=torch.ones(4, 4)),
        "text_encoder.blocks.0.resid: patches, frames and regions need a grid",
    ),
    "condition without a tokenizer": (
        at_resid(sl.Zero().on(when="cat"), processor=False),
        "blocks.1.resid: when='cat' needs a tokenizer: pass it to wrap(model, tokenizer)",
    ),
    "no condition": (scope(when=""), "when='': give a phrase or a function from the text to True or False"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_message_names_the_culprit_and_the_way_out(mistake):
    check(mistake)
