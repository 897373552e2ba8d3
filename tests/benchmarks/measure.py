"""Ratios that a noisy machine cannot fake: CPU time in interleaved rounds, and exact Python calls."""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable

Run = Callable[[], object]


def python_calls(run: Run) -> int:
    """Python-level calls of the third run, when everything is warm."""
    run()
    run()
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    gc.collect()
    gc.disable()  # what others left to be collected is not this run's
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def ratios(variants: dict[str, Run], rounds: int, *, repeat: int = 1) -> dict[str, list[float]]:
    """CPU time of every variant over that of ``"bare"`` in the same round, ``repeat`` runs at a time."""
    shuffled = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for run in variants.values():
        run()
        run()
    gc.disable()
    try:
        for _ in range(rounds):
            order = list(variants)
            shuffled.shuffle(order)
            for name in order:
                start = time.process_time()
                for _ in range(repeat):
                    variants[name]()
                times[name].append(time.process_time() - start)
            gc.collect()
    finally:
        gc.enable()
    return {name: [t / b for t, b in zip(ts, times["bare"], strict=True)] for name, ts in times.items()}


def table(title: str, variants: dict[str, Run], rounds: int, *, sites: int, repeat: int = 1) -> str:
    """A printed table: median and quartiles of the ratios, and the calls added a site."""
    lines = [
        f"\n{title} ({rounds} rounds)",
        f"{'':44}{'CPU ratio':>10}  {'quartiles':16}{'calls':>8}{'a site':>8}",
    ]
    measured = ratios(variants, rounds, repeat=repeat)
    base = python_calls(variants["bare"])
    for name, values in measured.items():
        low, middle, high = statistics.quantiles(values, n=4)
        added = python_calls(variants[name]) - base
        a_site = f"{added / sites:8.1f}" if sites and name != "bare" else " " * 8
        calls = f"{base:8d}" if name == "bare" else f"{added:+8d}"
        lines.append(f"{name:44}{middle:10.3f}  {low:.3f} to {high:.3f}  {calls}{a_site}")
    return "\n".join(lines)
