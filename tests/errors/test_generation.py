"""What is said of a generation that cannot be: the culprit, what exists, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from conftest import build
from mistakes import check

import steerlab as sl

PUSH = {"blocks.1.resid": sl.Scale(2.0)}
CHAT = [{"role": "user", "content": "the cat"}]
BRIEF = {"max_new_tokens": 4, "eos_token_id": None}


def say(prompt: Any = "the cat", family: str = "llama", **how: Any) -> Callable[[], Any]:
    return lambda: build(family).model.generate(prompt, **{**BRIEF, **how})


def nameless(prompt: Any, **how: Any) -> Callable[[], Any]:
    return lambda: sl.wrap(build("llama").tiny.model).generate(prompt, **BRIEF, **how)


def several_without_padding() -> None:
    tokenizer = tiny.word_tokenizer()
    tokenizer.pad_token = None
    sl.wrap(build("llama").tiny.model, tokenizer).generate(["the cat", "dog"])


def old_cache(**how: Any) -> Callable[[], Any]:
    def act() -> None:
        model, ids = build("llama").model, build("llama").tiny.inputs["input_ids"]
        cache = model.generate(ids, **BRIEF).cache
        model.generate(**{"prompt": ids, "past_key_values": cache, **BRIEF, **how})

    return act


def cache_of_fixed_size() -> None:
    model = sl.wrap(tiny.tiny("llama").model)  # transformers keeps this cache on the model
    edit = {"blocks.1.v": sl.Zero().on(tokens="prompt")}
    model.generate(IDS, edit=edit, cache_implementation="static", **BRIEF)


def right_padded() -> dict[str, Any]:
    padded = build("llama").tiny.padded
    return {name: value.flip(1) for name, value in padded.items()}


IDS = torch.tensor([[1, 4, 5]])
MISTAKES = {
    "mistyped option": (
        say(max_new_token=3),
        "generate(..., max_new_token=...): neither steerlab nor transformers knows this option",
        "did you mean 'max_new_tokens'?",
    ),
    "mistyped option of ours": (
        say(recompute_cach=True),
        "generate(..., recompute_cach=...)",
        "did you mean 'recompute_cache'?",
    ),
    "encoder that generates": (
        lambda: build("vit").model.generate("the cat"),
        "ViTModel does not generate: it has no head for words",
    ),
    "interventions for other prompts": (
        say(["the cat", "dog"], edit=[PUSH, PUSH, None]),
        "edit holds 3 interventions for 2 prompts; give one a prompt, None to leave it alone",
    ),
    "list of nothing": (say(edit=[None]), "the list holds no intervention: every row is None"),
    "beginning of a half": (say(edit=PUSH, begin=1.5), "begin=1.5: give the number of new tokens"),
    "beginning before the prompt": (say(edit=PUSH, begin=-1), "begin=-1: give the number of new tokens"),
    "beginning after the end": (
        say(edit=PUSH, begin=4),
        "begin=4: at most 4 new tokens are generated, so it never begins",
    ),
    "end before the beginning": (
        say(edit=PUSH, begin=2, eos_token_id=list(range(54))),
        "begin=2: the generation ended after 1 new tokens, before the intervention could act",
        "(strict=False accepts this)",
    ),
    "beginning with an assistant": (
        say(edit=PUSH, begin=2, prompt_lookup_num_tokens=2),
        "begin=2: with prompt_lookup_num_tokens tokens come several at a time",
        "choose tokens='generated[...]' instead",
    ),
    "stream of two": (
        say(["the cat", "dog"], stream=True),
        "stream: 2 rows speak at once; stream one answer to one prompt",
    ),
    "stream without words": (nameless(IDS, stream=True), "stream: text needs a tokenizer"),
    "stream into a number": (
        say(stream=3),
        "stream=3: give True, or a function that is given pieces of text",
    ),
    "messages without a template": (
        say(CHAT),
        "TokenizersBackend has no chat template, so it cannot turn messages into text",
    ),
    "texts without padding": (
        several_without_padding,
        "2 texts at once need padding, and this TokenizersBackend has no padding token",
        "set tokenizer.pad_token = tokenizer.eos_token",
    ),
    "cache with padding on the right": (
        old_cache(prompt=right_padded()),
        "past_key_values with padding on the right: what is cached cannot be moved; pad on the left",
    ),
    "guidance of two runs": (
        say(edit={"blocks.1.resid": sl.Zero().on(tokens="generated")}, guidance_scale=2.0),
        "generate(guidance_scale=...) runs the model a second time on other tokens",
    ),
    "keys in a cache of fixed size": (
        cache_of_fixed_size,
        "blocks.1.v: attention sees 6 keys of 3 tokens: in a cache of fixed size it is not known",
        "generate with a cache that grows",
    ),
    "words under beams": (
        say(edit={"blocks.1.resid": sl.Zero().on(tokens="word:cat")}, num_beams=2),
        "blocks.1.resid: with num_beams > 1 rows change places, so what each of them said is not known",
    ),
}


def fold(intervention: Any, family: str = "llama") -> Callable[[], Any]:
    return lambda: build(family).model.fold(intervention)


def folded_under_an_edit() -> None:
    model = build("llama").model
    with model.edit(PUSH, strict=False), model.fold({"blocks.0.mlp": sl.Zero()}):
        pass


def folded_twice() -> None:
    model = build("llama").model
    with model.fold({"blocks.0.mlp": sl.Scale(2.0)}), model.fold({"blocks.0.mlp": sl.Scale(2.0)}):
        pass


def shared() -> None:
    made = tiny.tiny("llama")
    layers = made.model.model.layers
    layers[1].mlp.down_proj.weight = layers[2].mlp.down_proj.weight
    sl.wrap(made.model).fold({"blocks.1.mlp": sl.Scale(2.0)})


def in_training() -> None:
    made = tiny.tiny("gpt2")
    sl.wrap(made.model.train()).fold({"blocks.1.mlp": sl.Scale(2.0)})


def offloaded() -> None:
    model = sl.wrap(tiny.tiny("llama").model)
    model.module.model.layers[1].mlp.down_proj.to("meta")
    model.fold({"blocks.1.mlp": sl.Scale(2.0)})


FOLDS = {
    "fold of a scope": (
        fold({"blocks.1.mlp": sl.Scale(2.0).on(tokens="last")}),
        "blocks.1.mlp: Scale(2).on(tokens='last') acts on some entries only",
        "use edit(...)",
    ),
    "fold of a dose": (
        fold({"blocks.1.mlp": sl.Scale(2.0).on(strength=0.5)}),
        "blocks.1.mlp: Scale(2).on(strength=0.5) acts on some entries only",
    ),
    "fold of what is not linear": (
        fold({"blocks.1.mlp": sl.Clamp(high=1.0)}),
        "blocks.1.mlp: Clamp(",
        "is not a fixed linear map; Add, Zero, Scale, Remove and Project",
    ),
    "fold at queries": (
        fold({"blocks.1.q": sl.Scale(2.0)}),
        "blocks.1.q: no weights write it alone; an edit goes into the weights at resid, attn, mlp, heads",
    ),
    "fold of the whole stream": (
        fold({"blocks.1.resid": sl.Scale(2.0)}),
        "blocks.1.resid: earlier blocks have written this stream too, so only Add goes into the weights",
    ),
    "fold behind a norm": (
        fold({"blocks.1.mlp": sl.Scale(2.0)}, "gemma2"),
        "blocks.1.mlp: Gemma2RMSNorm stands between the weights and the stream",
    ),
    "fold behind layer scale": (
        fold({"blocks.1.attn": sl.Scale(2.0)}, "dinov2"),
        "blocks.1.attn: Dinov2LayerScale stands between the weights and the stream",
    ),
    "fold of experts": (
        fold({"blocks.1.mlp": sl.Scale(2.0)}, "mixtral"),
        "blocks.1.mlp: the layer that writes it is found by blocks.1.mlp.act: its experts are one fused call",
    ),
    "fold of a pipeline": (
        fold({"unet.down.0.0.blocks.0.mlp": sl.Scale(2.0)}, "sd"),
        "fold: StableDiffusionPipeline is a pipeline of several models; use edit(...)",
    ),
    "fold of shared weights": (
        shared,
        "blocks.1.mlp: its weights are shared with model.layers.2.mlp.down_proj, which would change as well",
    ),
    "fold in training": (in_training, "blocks.1.mlp: in training, dropout stands behind the weights"),
    "fold of offloaded weights": (offloaded, "blocks.1.mlp: its weights are offloaded by accelerate"),
    "fold under an edit": (
        folded_under_an_edit,
        "another edit is at work on LlamaDecoderLayer; enter fold(...) first, and edits inside of it",
    ),
    "fold on a fold": (
        folded_twice,
        "blocks.0.mlp: an edit is in these weights already; put both into one fold",
    ),
}


@pytest.mark.parametrize("name", MISTAKES | FOLDS)
def test_the_message_says_what_was_asked_what_exists_and_what_to_write(name):
    check((MISTAKES | FOLDS)[name])
