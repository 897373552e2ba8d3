"""Fixtures of dictionary_learning, written by its classes.

Version 0.1.0 asks for an nnsight from before 0.4, which its classes do not use: install it without what it
asks for (``pip install --no-deps dictionary-learning==0.1.0``) beside torch, nnsight, einops, datasets,
zstandard and wandb, then run this file (some 10 seconds). The classes of the hub fork are on no package
index: their test is written against the fork's equations.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from dictionary_learning.dictionary import (
    AutoEncoder,
    AutoEncoderNew,
    GatedAutoEncoder,
    JumpReluAutoEncoder,
)
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from writing import ATOMS, DIM, expect, folder, inputs, note, shaken

# Case: a class with its arguments beside the sizes, and a threshold where it keeps one.
CASES = {
    "auto_encoder": (AutoEncoder, {}, None),
    "auto_encoder_new": (AutoEncoderNew, {}, None),
    "gated": (GatedAutoEncoder, {}, None),
    "jumprelu": (JumpReluAutoEncoder, {}, None),
    "topk": (AutoEncoderTopK, {"k": 7}, 0.9),
    "batchtopk": (BatchTopKSAE, {"k": 7}, 0.9),
    "matryoshka": (MatryoshkaBatchTopKSAE, {"k": 7, "group_sizes": [8, 16, 24]}, 0.9),
}


def write_case(where: Path, case: str) -> None:
    kind, arguments, threshold = CASES[case]
    made = shaken(kind(DIM, ATOMS, **arguments))
    if threshold is not None:
        made.threshold.fill_(threshold)
    (where / case).mkdir(exist_ok=True)
    torch.save(made.state_dict(), where / case / "ae.pt")
    trainer = {"dict_class": kind.__name__, "activation_dim": DIM, "dict_size": ATOMS, "layer": 4}
    trainer |= {"lm_name": "tiny", "submodule_name": "resid_post_layer_4"} | {
        name: value for name, value in arguments.items() if name == "k"
    }
    config = {"trainer": trainer, "buffer": {"ctx_len": 128, "d_submodule": DIM, "io": "out"}}
    (where / case / "config.json").write_text(json.dumps(config))
    loaded, _ = load_dictionary(str(where / case), "cpu")
    x = inputs()
    codes = loaded.encode(x)
    expect(where / case, x, codes, loaded.decode(codes))


def main() -> None:
    where = folder("dictionary_learning")
    for case in CASES:
        write_case(where, case)
    note(where, "dictionary-learning")


if __name__ == "__main__":
    main()
