"""The same edits and reads by both engines, and what came of them in a form that can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

import steerlab as sl
from steerlab.backends.nnsight import Traced, run


def noisy(x: torch.Tensor) -> torch.Tensor:
    """Add noise that depends on the number of entries alone."""
    noise = torch.randn(x.numel(), generator=torch.Generator().manual_seed(x.numel()))
    return x + 0.3 * noise.view(x.shape).to(x.dtype)


def native(model: sl.Model, inputs: dict[str, Any], edit: Any, at: Any) -> Traced:
    """What hooks give, as the other engine would hand it over."""
    with torch.no_grad(), model.read(at) as reading:
        if edit is None:
            return Traced(model.module(**inputs), reading.activations(), None)
        with model.edit(edit) as receipt:
            output = model.module(**inputs)
    return Traced(output, reading.activations(), receipt)


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of an output by the way to it; caches are left out."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    if dataclasses.is_dataclass(value) and not isinstance(value, Mapping):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {}
    return {path: one for key, part in value.items() for path, one in tensors(part, f"{name}.{key}").items()}


def outcome(call: Callable[[], Traced]) -> Traced | str:
    """The result, or the error as a text."""
    try:
        return call()
    except (sl.SteerlabError, sl.SteerlabWarning) as fact:
        return f"{type(fact).__name__}: {fact}"


def differences(ours: Traced, theirs: Traced) -> list[str]:
    """What differs between two runs, to the bit."""
    a, b = tensors(ours.output), tensors(theirs.output)
    assert a, "the output holds no tensor"
    found = [f"output{name}" for name in a.keys() | b.keys() if not equal(a.get(name), b.get(name))]
    reads, others = ours.activations.tensors, theirs.activations.tensors
    found += [
        str(site) for site in reads.keys() | others.keys() if not equal(reads.get(site), others.get(site))
    ]
    found += ["order of reads"] * (list(reads) != list(others))
    found += [
        f"axes of {site}" for site in reads if ours.activations.axes[site] != theirs.activations.axes[site]
    ]
    for site in reads:
        mine, other = ours.activations.maps[site], theirs.activations.maps[site]
        if (
            (mine is None) != (other is None)
            or mine is not None
            and (
                (mine.count, mine.groups, mine.grid) != (other.count, other.groups, other.grid)
                or not equal(mine.position, other.position)
                or not equal(mine.real, other.real)
            )
        ):
            found.append(f"tokens of {site}")
    if theirs.receipt is not None and str(ours.receipt) != str(theirs.receipt):
        found.append(f"receipt\n{ours.receipt}\n{theirs.receipt}")
    return found


def equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    same = a.shape == b.shape and a.dtype == b.dtype
    return same and torch.equal(a.nan_to_num(nan=7.0), b.nan_to_num(nan=7.0))


def check(
    model: sl.Model, inputs: dict[str, Any], edit: Any, at: Any, remote: bool | str = False
) -> Traced | str:
    """Run both engines, hold them to the same bits or to the same error, and give what came of it."""
    expected = outcome(lambda: native(model, inputs, edit, at))
    got = outcome(lambda: run(model, inputs, edit=edit, at=at, remote=remote))
    if isinstance(expected, str) or isinstance(got, str):
        assert got == expected
        return got
    assert differences(got, expected) == [], f"{edit} at {at}"
    return got
