"""What is said of a choice of entries that cannot be made: the culprit, and what to write instead."""

from __future__ import annotations

import pytest
import torch
from mistakes import EYE, NOBODY, at_resid, check, on, run

import steerlab as sl

WORDS = "(known: all, first, last, special, prompt, generated[0:8], bos, eos, pad, word:...)"
WORDS_TO_GIVE = f"give a word {WORDS.replace('known: ', '')}, an index, a slice, "

# name: (what was done, how the message starts, what else it says)
MISTAKES = {
    "keyword misspelt": (
        lambda: sl.Zero().on(token="last"),
        (
            "a scope has no 'token'; did you mean 'tokens'? (known: tokens, exclude, keys, rows, heads, "
            "patches, frames, region, when, steps, branch, strength)"
        ),
    ),
    "strength above one": (
        lambda: sl.Zero().on(strength=2),
        "strength=2: a scope's strength is a number in [0, 1]",
    ),
    "strength that is no number": (
        lambda: sl.Zero().on(strength="high"),
        "strength='high': a scope's strength is a number in [0, 1]",
    ),
    "token mask of other inputs": (
        on(tokens=NOBODY[:5]),
        "blocks.1.resid: a token mask of shape [1, 5] does not fit 7 tokens (expected [7] or [batch, 7])",
    ),
    "token mask of other rows": (
        on(tokens=EYE[:3]),
        "blocks.1.resid: a token mask for 3 rows does not fit 2 rows",
    ),
    "nothing chosen": (
        on(tokens=NOBODY),
        (
            "blocks.1.resid: the scope of Zero().on(tokens=tensor[7]) chose nothing in 1 fires "
            "(strict=False accepts this)"
        ),
    ),
    "word that is not there": (
        on(tokens="word:zebra"),
        "blocks.1.resid: the scope of Zero().on(tokens='word:zebra') chose nothing in 1 fires",
    ),
    "no word": (
        on(tokens="word:"),
        "blocks.1.resid: tokens='word:' names no word; write it after the colon, as in 'word:Monday'",
    ),
    "name of tokens misspelt": (
        on(tokens="lst"),
        f"blocks.1.resid: no tokens named 'lst'; did you mean 'last'? {WORDS}",
    ),
    "tokens that this model lacks": (
        on("vit", tokens="registers"),
        "blocks.1.resid: no tokens named 'registers' (known: all, first, last, special, cls, patches)",
    ),
    "fraction of a token": (
        on(tokens=1.5),
        f"blocks.1.resid: tokens=1.5: {WORDS_TO_GIVE}a list of indices or a boolean mask",
    ),
    "names in a list": (
        on(tokens=["last"]),
        f"blocks.1.resid: tokens=['last']: {WORDS_TO_GIVE}a list of indices or a boolean mask",
    ),
    "mask of floats": (
        on(tokens=torch.ones(7)),
        "blocks.1.resid: tokens=tensor([1., 1., 1.",
        f"{WORDS_TO_GIVE}a list of indices or a boolean mask",
    ),
    "token out of range": (
        on("vit", tokens=99),
        "blocks.1.resid: token 99 does not exist: there are 17 (0 to 16)",
    ),
    "word without a tokenizer": (
        at_resid(sl.Zero().on(tokens="word:cat"), processor=False),
        "blocks.1.resid: tokens='word:cat' needs a tokenizer: pass it to wrap(model, tokenizer)",
    ),
    "word on an image": (
        on("vit", tokens="word:cat"),
        (
            "blocks.1.resid: tokens='word:cat' needs token ids (known here: all, first, last, special, cls, "
            "patches)"
        ),
    ),
    "row out of range": (on(rows=5), "blocks.1.resid: row 5 does not exist: there are 2 (0 to 1)"),
    "name of a row": (
        on(rows="first"),
        "blocks.1.resid: rows='first': give an index, a slice, a list of indices or a boolean mask",
    ),
    "row mask of other inputs": (
        on(rows=NOBODY[:3]),
        "blocks.1.resid: a row mask of shape [3] does not fit 2 rows",
    ),
    "patches of a text": (
        on(patches=(0, 0)),
        "blocks.1.resid: patches, frames and regions need a grid: the inputs of this model are not images",
    ),
    "patches of a masked autoencoder": (
        on("vit_mae", patches=(0, 0)),
        (
            "blocks.1.resid: patches, frames and regions need a grid: a masked autoencoder keeps its "
            "patches in random order"
        ),
    ),
    "patch outside": (on("vit", patches=(9, 0)), "blocks.1.resid: patch (9, 0) is outside the grid of 4 x 4"),
    "number of a patch": (
        on("vit", patches=3),
        "blocks.1.resid: patches=3: give (row, column), a list of them or 'top:bottom,left:right'",
    ),
    "half a rectangle": (
        on("vit", patches="2:3"),
        "blocks.1.resid: patches='2:3': write rows and columns as 'top:bottom,left:right'",
    ),
    "frames of an image": (
        on("vit", frames=0),
        "blocks.1.resid: frames=0: these inputs are single images, grid (4, 4)",
    ),
    "frame out of range": (
        on("videomae", frames=9),
        "blocks.1.resid: frame 9 does not exist: there are 2 (0 to 1)",
    ),
    "region of three axes": (
        on("vit", region=torch.ones(1, 8, 8)),
        "blocks.1.resid: a region is a mask [height, width], not [1, 8, 8]",
    ),
    "region above one": (
        on("vit", region=2 * torch.ones(8, 8)),
        "blocks.1.resid: a region is a mask with values in [0, 1]",
    ),
    "region with NaN": (
        on("vit", region=torch.full((8, 8), float("nan"))),
        "blocks.1.resid: a region is a mask with values in [0, 1]",
    ),
    "keys of the stream": (
        on(keys=0),
        "blocks.1.resid: keys=0: this site has no key axis, only batch, token, dim",
    ),
    "tokens of a pooled stream": (
        lambda: run("vit", {"pooled": sl.Zero().on(tokens="cls")}),
        "pooled: tokens='cls': this site has no token axis, only batch, dim",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_was_asked_what_exists_and_what_to_write(name):
    check(MISTAKES[name])
