"""Fixtures of Overcomplete, written by it: ``pip install overcomplete``, then run this file (10 seconds).

With a matplotlib of 3.9 or later it needs the one name that the first lines put back.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import torch
from safetensors.torch import save_file
from writing import ATOMS, DIM, ROWS, expect, folder, inputs, note, shaken

matplotlib.cm.get_cmap = matplotlib.pyplot.get_cmap
sae = importlib.import_module("overcomplete.sae")

POINTS = 24
STD = 2.25  # of the universal member
K = {"top_k": 6}


def points() -> dict:
    return {"points": inputs(POINTS, DIM, seed=7)}


# Case: a class with its arguments, then the options that a reader has to give.
CASES = {
    "relu.pt": (sae.SAE, {}, {"method": "relu"}),
    "topk.safetensors": (sae.TopKSAE, K, {"k": 6}),
    "max_l1.pt": (
        sae.TopKSAE,
        {**K, "dictionary_params": {"normalization": "max_l1", "use_multiplier": True}},
        {"k": 6, "normalization": "max_l1"},
    ),
    "batchtopk.pt": (sae.BatchTopKSAE, {"top_k": 6 * ROWS}, {"method": "batchtopk"}),
    "jump.pt": (sae.JumpSAE, {}, {}),
    "mp.pt": (sae.MpSAE, {"k": 6}, {"k": 6}),
    "mp_identity.pt": (
        sae.MpSAE,
        {"k": 4, "dictionary_params": {"normalization": "identity"}},
        {"k": 4, "normalization": "identity"},
    ),
    "archetypal.pt": (sae.RATopKSAE, {**K, "delta": 0.8}, {"k": 6, "delta": 0.8}),
    "batch_norm_1.pt": (sae.TopKSAE, {**K, "encoder_module": "mlp_bn_1"}, {"k": 6}),
    "batch_norm_3.pt": (sae.TopKSAE, {**K, "encoder_module": "mlp_bn_3"}, {"k": 6}),
    "layer_norm_3.safetensors": (sae.TopKSAE, {**K, "encoder_module": "mlp_ln_3"}, {"k": 6}),
}


def trained(kind: type, arguments: dict) -> torch.nn.Module:
    """As after training: running figures from some batches, then evaluation mode."""
    extra = points() if kind is sae.RATopKSAE else {}
    made = shaken(kind(DIM, ATOMS, **extra, **arguments))
    made.train()
    for seed in range(3):
        made(inputs(64, DIM, seed=seed) if kind is not sae.BatchTopKSAE else inputs(ROWS, DIM, seed=seed))
    return made.eval()


def keep(state: dict, file: Path) -> None:
    if file.suffix == ".safetensors":
        save_file({name: t.contiguous() for name, t in state.items()}, file)
    else:
        torch.save(state, file)


def write_case(where: Path, case: str) -> None:
    kind, arguments, options = CASES[case]
    made = trained(kind, arguments)
    if kind is sae.BatchTopKSAE:
        options = {**options, "threshold": float(made.running_threshold)}
    keep(made.state_dict(), where / case)
    x = inputs()
    _, codes = made.encode(x)
    expect(where / case, x, codes, made.decode(codes), **options)


def write_tied(where: Path) -> None:
    """An encoder that is the dictionary's transpose, and one that started there with a bias of its own."""
    for case, change in {"tied.pt": sae.SAE.tied, "untied.pt": sae.SAE.untied}.items():
        made = sae.TopKSAE(DIM, ATOMS, **K)
        made = shaken(change(made, bias=True), seed=3).train()
        made(inputs())
        made.eval()
        keep(made.state_dict(), where / case)
        x = inputs()
        _, codes = made.encode(x)
        expect(where / case, x, codes, made.decode(codes), k=6)


def write_universal(where: Path) -> None:
    """Two members of a universal autoencoder: checkpoints as its training writes them."""
    for name, dim, mean in (("ViT", DIM, -0.03), ("DinoV2", 10, 0.03)):
        made = sae.TopKSAE(dim, ATOMS, top_k=6, encoder_module="mlp_bn_1")
        made = shaken(made, seed=dim).train()
        for seed in range(3):
            made(inputs(64, dim, seed=seed))
        made.eval()
        optimizer = torch.optim.AdamW(made.parameters(), lr=3e-4)
        checkpoint = {"epoch": 29, "model_state_dict": made.state_dict(), "learning_rate": 1e-6}
        case = where / f"uni_{name}_checkpoint_29.pth"
        torch.save({**checkpoint, "optimizer_state_dict": optimizer.state_dict()}, case)
        x = inputs(ROWS, dim)
        _, codes = made.encode((x - mean) / STD)
        expect(case, x, codes, made.decode(codes) * STD + mean, k=6, mean=mean, std=STD)


def main() -> None:
    torch.manual_seed(0)
    where = folder("overcomplete")
    for case in CASES:
        write_case(where, case)
    write_tied(where)
    note(where, "overcomplete")
    universal = folder("universal")
    write_universal(universal)
    note(universal, "overcomplete")


if __name__ == "__main__":
    main()
