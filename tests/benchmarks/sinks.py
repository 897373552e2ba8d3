"""What sinks cost: scores of all heads, statistics of whole rows, the whole analysis, and memory over images.

Run by hand from the root of the repository, on a quiet machine::

    HF_HUB_OFFLINE=1 python tests/benchmarks/sinks.py                # SmolLM2 at 512 tokens: steerlab[models]
    HF_HUB_OFFLINE=1 python tests/benchmarks/sinks.py --memory 100   # peak memory over so many images
    HF_HUB_OFFLINE=1 python tests/benchmarks/sinks.py --memory 1000

One thread, CPU time of the whole process, rounds in shuffled order, medians of ratios within a round.
"""

from __future__ import annotations

import argparse
import resource

import torch
from measure import table

import steerlab as sl
from steerlab.analyzers.sinks import sink_facts, sink_scores
from steerlab.analyzers.sinks.parts import part_of
from steerlab.analyzers.sinks.projections import projections
from steerlab.analyzers.sinks.watching import column_sums, sink_of, watched
from steerlab.numerics.sinks import EPSILONS


def costs(rounds: int, tokens: int) -> str:
    model = sl.load("zoo:smollm2")
    ids = torch.randint(4, 49152, (1, tokens), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    patterns = model.sites("blocks.*.pattern")
    part = part_of(model, inputs, patterns[0])
    through = projections(model, part, patterns)

    def bare():
        with torch.no_grad():
            return model.module(**inputs, logits_to_keep=1)

    def rows():
        sl.attend(model, inputs, patterns, lambda site, looks: column_sums(looks))

    def columns():
        sl.attend(model, inputs, patterns, lambda site, looks: sink_of(looks, part))

    variants = {
        "bare": bare,
        "sink scores of the first token": lambda: sink_scores(model, inputs),
        "statistics of whole rows": rows,
        "the same, and the dominant columns": columns,
        "everything that is recorded": lambda: watched(model, part, through, EPSILONS),
    }
    return table(f"SmolLM2-135M, {tokens} tokens, sinks", variants, rounds, sites=len(patterns))


def memory(count: int) -> str:
    """Peak memory of a process that finds the sinks of so many images, 32 different ones in turn."""
    model = sl.load("zoo:shapes-vit")
    pictures = sl.inputs.Scenes(32).load(".")
    sink_facts(model, pictures[:16], "blocks.*.pattern", batch=16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = sink_facts(model, [pictures[i % 32] for i in range(count)], "blocks.*.pattern", batch=16)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = sum(values.nbytes for values in facts.values.values()) / 2**20
    return (
        f"{count} images: peak {after / 1024:.1f} MiB, {(after - before) / 1024:.1f} more than after 16; "
        f"the answer itself is {kept:.2f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument(
        "--memory", type=int, help="images whose peak memory is measured, in place of the costs"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(memory(options.memory) if options.memory else costs(options.rounds, options.tokens))


if __name__ == "__main__":
    main()
