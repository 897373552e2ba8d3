"""What is said of a model that cannot be held: the culprit, what exists, and what to write instead."""

from __future__ import annotations

import pytest
import torch
from conftest import build
from mistakes import check, compiled, llama, wrap

import steerlab as sl
from steerlab.families import FAMILIES

INSIDE = (
    "is inside a compiled module, where torch silently skips new hooks; use the model as it was before torch"
)

# name: (what was done, how the message starts, what else it says)
MISTAKES = {
    "torch.compile before wrap": (
        wrap(lambda: torch.compile(torch.nn.Linear(2, 2))),
        "this module is compiled, and torch silently skips hooks",
        "wrap the model as it was before torch.compile",
    ),
    "edit in a compiled block": (
        compiled(lambda m, x: m.edit({"blocks.1.resid": sl.Zero()}), "model.layers.1"),
        f"blocks.1.resid: LlamaDecoderLayer {INSIDE}",
    ),
    "read in a compiled block": (
        compiled(lambda m, x: m.capture(x, "blocks.1.heads"), "model.layers.1"),
        f"blocks.1.heads: Linear {INSIDE}",
    ),
    "edit in a compiled model": (
        compiled(lambda m, x: m.edit({"module:lm_head": sl.Zero()}), ""),
        f"module:lm_head: Linear {INSIDE}",
    ),
    "wrap of a number": (
        wrap(lambda: 3),
        "cannot wrap int: give an nn.Module, a diffusers pipeline (StableDiffusion",
        "or an nnsight model",
    ),
    "wrap of a name": (
        wrap(lambda: "gpt2"),
        "cannot wrap a name (to open it: load('gpt2')): give an nn.Module",
    ),
    "wrap of a class": (
        wrap(lambda: torch.nn.Linear),
        "cannot wrap a class (make one: Linear(...)): give an nn.Module",
    ),
    "family misspelt": (
        wrap(llama, family="lama"),
        "no family named 'lama'; did you mean 'llama'? (known: clip, ",
    ),
    "family that does not fit": (
        wrap(llama, family="vit"),
        "family 'vit' does not fit LlamaForCausalLM: ",
        "family='plain' for module paths alone",
    ),
    "family that is no family": (
        wrap(llama, family=3),
        "family=3: give the name of a family or a Family(...)",
    ),
    "family registered twice": (
        lambda: FAMILIES.add("vit", FAMILIES["llama"]),
        "family 'vit' is registered already",
    ),
    "zoo model misspelt": (
        lambda: sl.load("zoo:smolm2"),
        "unknown model 'smolm2'; did you mean 'smollm2'? (the zoo has: dinov2-saliency, ",
        "shapes-clip, ",
    ),
    "timm model misspelt": (
        lambda: sl.load("timm:vit_tiny_patch16_244"),
        "timm has no model 'vit_tiny_patch16_244'; did you mean 'vit_tiny_patch16_",
    ),
    "folder that is not there": (
        lambda: sl.load("./no_such_folder"),
        "'./no_such_folder' is neither a folder with a model nor an id that can be reached (",
        "embedded models are written zoo:<name>",
    ),
    "load of a model": (
        lambda: sl.load(llama()),
        "load takes a name; for a model that you have, wrap(LlamaForCausalLM) it",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_was_asked_what_exists_and_what_to_write(name):
    check(MISTAKES[name])


def test_an_attribute_that_a_model_lacks_is_helped_with_the_names_of_its_towers():
    with pytest.raises(AttributeError, match="Model has no attribute 'visin'; did you mean 'vision'?"):
        _ = build("clip").model.visin
