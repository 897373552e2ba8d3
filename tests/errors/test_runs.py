"""What is said of a run that does not mean anything: the culprit, what exists, and what to write instead."""

from __future__ import annotations

import pytest
import torch
from conftest import build
from mistakes import (
    OneUsed,
    acts,
    at_resid,
    check,
    compare,
    edit,
    entered_twice,
    no_forward,
    read,
    receipt_of_another_site,
    sweep,
    unused,
    without_processor,
)

import steerlab as sl

NOT_A_MAPPING = "an intervention is a dict of sites and edits, such as {'blocks.3.heads.7': Zero()}, not "

# name: (what was done, how the message starts, what else it says)
MISTAKES = {
    "class for an edit": (
        edit({"blocks.1.resid": sl.Zero}),
        "blocks.1.resid: Zero is a class; did you mean Zero(...)?",
    ),
    "class in a list of edits": (
        edit({"blocks.1.resid": [sl.Zero(), sl.Scale]}),
        "blocks.1.resid: Scale is a class; did you mean Scale(...)?",
    ),
    "number for an edit": (
        edit({"blocks.1.resid": 3.0}),
        "blocks.1.resid: 3.0 is not an edit or a list of edits",
    ),
    "no edit at a site": (
        edit({"blocks.1.resid": []}),
        "blocks.1.resid: [] is not an edit or a list of edits",
    ),
    "tuple for an intervention": (edit(("blocks.1.resid", sl.Zero())), f"{NOT_A_MAPPING}tuple"),
    "edit for an intervention": (compare(sl.Zero()), f"{NOT_A_MAPPING}Zero"),
    "empty intervention": (edit({}), "the intervention is empty: name at least one site and its edit"),
    "module that never runs": (
        unused,
        "module:unused: Zero() never fired. Did a forward run inside the context",
        "(strict=False accepts this)",
    ),
    "context without a forward": (
        no_forward,
        "blocks.1.resid: Zero() never fired. Did a forward run inside the context",
        "does it reach this site?",
    ),
    "context entered twice": (
        entered_twice,
        "this context is entered already; make a new one with model.edit(...)",
    ),
    "module that is never read": (
        lambda: sl.wrap(OneUsed()).capture(torch.ones(1, 2), "module:unused"),
        "module:unused: never ran in this forward",
    ),
    "metric of one number": (
        compare({"blocks.1.resid": sl.Zero()}, metric=lambda a, b: (a - b).sum()),
        "a metric returns one number a row, [2], not []",
    ),
    "metric of too many numbers": (
        sweep([{"blocks.1.resid": sl.Zero()}], metric=lambda a, b: a),
        "a metric returns one number a row, [2], not [2, 54]",
    ),
    "sweep of nothing": (sweep([]), "nothing to sweep: the list of interventions is empty"),
    "sweep of one dict": (
        sweep({"blocks.1.resid": sl.Zero()}),
        "sweep takes a list of interventions; for one of them write [{site: edit}]",
    ),
    "basis of another width": (
        at_resid(sl.Remove(sl.Direction(torch.ones(31)))),
        "blocks.1.resid: the basis lives in 31 dimensions, the activation [2, 7, 32] has 32",
    ),
    "too many components": (
        lambda: sl.PCA(torch.randn(3, 5), 9),
        "rank=9: samples [3, 5] have at most 3 components",
    ),
    "zero direction": (
        lambda: sl.Direction(torch.zeros(5)),
        "Direction: the vectors are zero, and span nothing",
    ),
    "direction of two vectors": (
        lambda: sl.Direction(torch.ones(2, 5)),
        "a direction is one vector [dim], not [2, 5]",
    ),
    "atom out of range": (lambda: sl.Direction(torch.ones(5))[3], "atom 3: this basis has 1 atoms (0 to 0)"),
    "memory limit": (
        read("blocks.*.resid", limit=100),
        (
            "reading blocks.*.resid needs 5,376 bytes, more than the limit of 100; read fewer sites or "
            "rows, choose tokens="
        ),
    ),
    "memory of a module": (
        lambda: build("llama").model.memory_estimate(torch.ones(1, 5).long(), "module:lm_head"),
        "module:lm_head: the size of this site is known only after a forward",
    ),
    "text without a tokenizer": (
        without_processor("llama", "the cat"),
        "text needs a tokenizer: wrap(model, tokenizer), or pass token ids",
    ),
    "images without a processor": (
        without_processor("vit", [[[0]]]),
        "images need a processor: wrap(model, processor), or pass pixel values",
    ),
    "token ids of floats": (
        read("final", inputs=torch.ones(1, 5)),
        "token ids are integers [batch, token], not torch.float32 [1, 5]",
    ),
    "token ids without a batch": (
        read("final", inputs=torch.ones(5).long()),
        "token ids are integers [batch, token], not torch.int64 [5]",
    ),
    "number for a text": (
        read("final", inputs=3),
        "a text model takes text, token ids or keyword arguments, not int",
    ),
    "inputs of the other tower": (
        read("vision.final", "clip", {"input_ids": torch.ones(1, 5).long()}),
        "the vision tower needs pixel_values; the inputs hold input_ids",
    ),
    "ragged tokens": (
        lambda: build("llama").model.capture(build("llama").tiny.padded, "blocks.1.resid", tokens="all"),
        (
            "blocks.1.resid: tokens='all' chooses a different number of tokens in each row (7, 4); read all "
            "tokens and use a mask"
        ),
    ),
    "tokens of a pattern": (
        read("blocks.1.pattern", tokens="last"),
        "blocks.1.pattern has no token axis to choose from, only batch, head, query, key",
    ),
    "logits of an encoder": (
        lambda: build("vit").model.logits(build("vit").tiny.inputs),
        "ViTModel gives no logits, but BaseModelOutputWithPooling",
    ),
    "site that was not read": (
        lambda: acts()["blocks.9.resid"],
        "blocks.9.resid was not read; did you mean 'blocks.",
        "(read: blocks.0.resid, blocks.1.resid, blocks.2.resid)",
    ),
    "stack of different shapes": (
        lambda: acts(at=["blocks.1.resid", "blocks.1.mlp.act"]).stack(),
        "sites of different shapes cannot be stacked: (2, 7, 32), (2, 7, 48)",
    ),
    "receipt of another site": (
        receipt_of_another_site,
        "no edit at blocks.2.resid; this receipt has blocks.1.resid",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_was_asked_what_exists_and_what_to_write(name):
    check(MISTAKES[name])
