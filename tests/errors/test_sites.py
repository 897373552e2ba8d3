"""What is said of a site that is not there: the culprit, what exists, and what to write instead."""

from __future__ import annotations

import pytest
from conftest import build
from mistakes import check, edit, find, read

import steerlab as sl
from steerlab.errors import SteerlabError

STREAMS = "(known: resid_pre, resid_mid, resid, attn, mlp, mlp.act, update, heads, q, k, v, "

# name: (what was done, how the message starts, what else it says)
MISTAKES = {
    "stream misspelt": (
        find("blocks.1.hads"),
        "unknown stream 'hads' in 'blocks.1.hads'; did you mean 'heads'?",
        STREAMS,
    ),
    "stream misspelt before a head": (
        find("blocks.1.hads.2"),
        "unknown stream 'hads' in 'blocks.1.hads.2'; did you mean 'heads'?",
    ),
    "place without a stream": (
        find("blocks.1"),
        "'blocks.1' is a place without a stream; add one, for example 'blocks.1.resid'",
        STREAMS,
    ),
    "places without a number": (
        find("blocks"),
        "'blocks' is a place without a stream; add one, for example 'blocks.0.resid'",
    ),
    "place misspelt": (
        find("blcks.1.resid"),
        "blcks.1.resid: no such site in LlamaForCausalLM; did you mean 'blocks.1.resid'?",
        "print the model",
    ),
    "block out of range": (find("blocks.7.resid"), "blocks.7.resid: LlamaForCausalLM has 3 blocks (0 to 2)"),
    "blocks out of range": (
        find("blocks.5:9.resid"),
        "blocks.5:9.resid: LlamaForCausalLM has 3 blocks (0 to 2)",
    ),
    "block out of range in brackets": (
        lambda: build("llama").model.blocks[9],
        "blocks.9.resid: LlamaForCausalLM has 3 blocks (0 to 2)",
    ),
    "slice of blocks in brackets": (
        lambda: build("llama").model.blocks[0:2],
        "blocks[slice(0, 2, None)]: give one number; for several sites('blocks.0:2.<stream>')",
    ),
    "head out of range": (
        edit({"blocks.2.heads.12": sl.Zero()}),
        "blocks.2.heads.12: blocks.2 has 4 heads (0 to 3)",
    ),
    "heads out of range": (find("blocks.2.heads.2:9"), "blocks.2.heads.2:9: blocks.2 has 4 heads (0 to 3)"),
    "one of the heads out of range": (
        find("blocks.2.pattern.1,9"),
        "blocks.2.pattern.1,9: blocks.2 has 4 heads (0 to 3)",
    ),
    "key-value head out of range": (
        find("blocks.2.k.3"),
        "blocks.2.k.3: blocks.2 has 2 key-value heads (0 to 1)",
    ),
    "head of a stream without heads": (
        find("blocks.1.attn.3"),
        "'blocks.1.attn.3': 'attn' has no heads; heads are chosen in heads, q, k, v, scores, pattern",
        "for example 'blocks.1.heads.3'",
    ),
    "stream that this model lacks": (
        find("logits", "vit"),
        "logits: ViTModel has no 'logits' (it has: embed, final, pooled)",
    ),
    "refused: parallel blocks": (
        find("blocks.1.resid_mid", "gpt_neox"),
        "blocks.1.resid_mid: refused on GPTNeoXForCausalLM: attention and MLP are parallel",
    ),
    "refused: fused experts": (
        find("blocks.1.mlp.act", "mixtral"),
        (
            "blocks.1.mlp.act: refused on MixtralForCausalLM: its experts are one fused call; use mlp, or "
            "module:<path>"
        ),
    ),
    "module path misspelt": (
        edit({"module:model.layer.1": sl.Zero()}),
        "LlamaForCausalLM has no module 'model.layer.1'; did you mean 'model.layers.1'?",
    ),
    "module without a path": (
        find("module:"),
        "'module:': write module:<dotted path>, module:<dotted path>:input or :output",
    ),
    "module with another side": (
        find("module:lm_head:out"),
        "'module:lm_head:out': write module:<dotted path>, module:<dotted path>:input or :output",
    ),
    "no site at all": (find([]), "at is an empty list: name at least one site"),
    "a number for a site": (read(3), "at=3: give a site or a list of sites"),
    "a number in a list of sites": (find([3]), "at=3: give a site or a list of sites"),
    "several sites where one is meant": (
        lambda: build("llama").model.site("blocks.*.resid"),
        "blocks.*.resid names 3 sites; use sites()",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_was_asked_what_exists_and_what_to_write(name):
    check(MISTAKES[name])


def test_a_path_of_modules_is_told_how_it_is_written(held):
    model = held("llama").model
    with pytest.raises(
        SteerlabError, match="'model.layers.1' is a path of modules; write 'module:model.layers.1'"
    ):
        model.capture(held("llama").tiny.inputs, at="model.layers.1")
