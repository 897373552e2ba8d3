"""What a steered path costs: 50 waypoints on 16 prompts, against an edited forward for each of the 800.

Run by hand from the root of the repository, on a quiet machine::

    HF_HUB_OFFLINE=1 python tests/benchmarks/waypoints.py              # SmolLM2: steerlab[models]
    HF_HUB_OFFLINE=1 python tests/benchmarks/waypoints.py --share 1    # all naive forwards, not one in ten

One thread, CPU time of the whole process, rounds in shuffled order, medians of ratios within a round.
Naive forwards are all alike, so by default one in ten of them runs and counts tenfold; the path itself always
runs whole, and what it computes once for its prompts is in its time.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch

import steerlab as sl
from steerlab.analyzers.manifold_steering import Outcomes, answers_at

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TEMPLATES = (
    "It was {}. The next day was",
    "If today is {}, then tomorrow is",
    "I worked all of {} and slept late on",
)


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def variants(
    model: sl.Model, site: str, points: torch.Tensor, prompts: list[str], words: list[str] | None
) -> dict[str, Callable[[int], object]]:
    """What is compared, as functions of how many waypoints are run."""
    outcomes = Outcomes.of(model, DAYS)
    whole = answers_at(model, prompts, site, outcomes, words=words, reuse=False)
    places = [one.place for one in whole.prompts]

    def one_by_one(count: int) -> None:
        for point in points[:count]:
            for text, place in zip(prompts, places, strict=True):
                with model.edit({site: sl.Replace(point).on(tokens=[place])}):
                    model.logits(text)

    def by_sixteen(count: int) -> None:
        tokens = "last" if words is None else None
        mask = torch.zeros(len(prompts), max(len(one.ids) for one in whole.prompts), dtype=torch.bool)
        mask[torch.arange(len(prompts)), torch.tensor(places)] = True
        for point in points[:count]:
            with model.edit({site: sl.Replace(point).on(tokens=tokens or mask)}):
                model.module(**batch)

    pad = max(len(one.ids) for one in whole.prompts)
    ids = torch.stack([torch.nn.functional.pad(one.ids, (0, pad - len(one.ids))) for one in whole.prompts])
    lengths = torch.tensor([len(one.ids) for one in whole.prompts])
    batch = {"input_ids": ids, "attention_mask": (torch.arange(pad) < lengths[:, None]).long()}

    def path(count: int) -> None:
        answers_at(model, prompts, site, outcomes, words=words)(points[:count])

    return {"one by one": one_by_one, "16 prompts a forward": by_sixteen, "path": path}


def table(title: str, made: dict[str, Callable[[int], object]], count: int, rounds: int, share: int) -> str:
    """Medians of the ratios to both naive ways, with quartiles where there are rounds enough."""
    few = max(1, count // share)
    for run in made.values():
        run(1)
    shuffled, times = random.Random(0), {name: [] for name in made}
    for _ in range(rounds):
        for name in shuffled.sample(list(made), len(made)):
            waypoints = count if name == "path" else few
            spent = seconds(lambda name=name, waypoints=waypoints: made[name](waypoints))
            times[name].append(spent * count / waypoints)
    lines = [f"\n{title} ({rounds} rounds)"]
    for name, spent in times.items():
        ratio = [own / other for own, other in zip(times["path"], spent, strict=True)]
        said = f"{name:24}{statistics.median(spent):8.2f} s"
        if name != "path":
            said += f"   path / this: {statistics.median(ratio):.3f} ({min(ratio):.3f} to {max(ratio):.3f})"
        lines.append(said)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=int, default=10, help="one in so many naive forwards is run")
    parser.add_argument("--waypoints", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = sl.load("zoo:smollm2")
    pairs = [(template.format(day), day) for template in TEMPLATES for day in DAYS][:16]
    prompts, words = [text for text, _ in pairs], [day for _, day in pairs]
    points = torch.randn(options.waypoints, 576, generator=torch.Generator().manual_seed(0))
    for site, named in (("blocks.24.resid", None), ("blocks.14.resid", None), ("blocks.4.resid", words)):
        where = "last token" if named is None else "named token"
        made = variants(model, site, points, prompts, named)
        title = f"SmolLM2-135M, {options.waypoints} waypoints on {len(prompts)} prompts, {site}, {where}"
        print(table(title, made, options.waypoints, options.rounds, options.share), flush=True)


if __name__ == "__main__":
    main()
