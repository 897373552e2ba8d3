"""Law 8: the native and the nnsight engine agree, over every family that is a module."""

from __future__ import annotations

import parity
import pytest
import tiny
import torch

import steerlab as sl

PIPELINES = ("pixart", "sd", "sdxl")
MODULES = sorted(set(tiny.BUILDERS) - {*PIPELINES, "plain"})
PACKED = ("gpt2", "llama", "vit")  # also through the request that a server would get
RUNS = [(family, False) for family in MODULES] + [(family, "local") for family in PACKED]


def streams(model: sl.Model) -> list[sl.Site]:
    """The second site of each stream of each tower, or the only one."""
    groups: dict[tuple[str, str], list[sl.Site]] = {}
    for site in model.sites():
        kind = [part for part in site.place.split(".") if not part.isdigit()]
        groups.setdefault((".".join(kind), site.stream), []).append(site)
    return [group[min(1, len(group) - 1)] for group in groups.values()]


def edits(site: sl.Site, read: sl.Activations) -> dict[str, dict]:
    """One intervention of each kind at a site; single heads where there are heads."""
    head = (
        sl.Site(site.place, site.stream, "1") if site.stream in ("heads", "q", "scores", "pattern") else site
    )
    vector = torch.linspace(-1, 1, read[site].shape[-1])
    # TimeSformer folds frames into the rows of its attention, where rows are refused
    rows = {"rows": 1} if "batch" in read.axes[site] else {}
    return {
        "add": {site: sl.Add(vector, 0.5)},
        "scale": {site: sl.Scale(0.5)},
        "zero": {head: sl.Zero()},
        "fn": {site: sl.Fn(parity.noisy)},
        "scoped": {site: sl.Fn(parity.noisy).on(tokens="last", rows=0, strength=0.5)},
        "listed": {site: [sl.Scale(2.0).on(**rows), sl.Add(vector)]},
    }


@pytest.mark.parametrize(("family", "remote"), RUNS)
def test_reads_are_those_of_hooks(held, family, remote):
    one = held(family)
    sites = streams(one.model)
    traced = parity.check(one.model, one.tiny.inputs, None, sites, remote)
    captured = one.model.capture(one.tiny.inputs, sites)
    assert len(traced.activations) == len(sites) and len(traced.receipt) == 0
    assert all(parity.equal(traced.activations[site], captured[site]) for site in sites)


@pytest.mark.parametrize(("family", "remote"), RUNS)
def test_an_edit_of_any_kind_at_any_stream_does_what_it_does_in_hooks(held, family, remote):
    one = held(family)
    sites = streams(one.model)
    read = one.model.capture(one.tiny.inputs, sites)
    for number, site in enumerate(sites):
        kinds = edits(site, read)
        if remote:  # packing takes a quarter of a second each time
            kinds = dict([list(kinds.items())[number % len(kinds)]])
        for kind, edit in kinds.items():
            got = parity.check(one.model, one.tiny.inputs, edit, [site, sites[-1]], remote)
            # both refuse a choice where there are no tokens, or others than those of the inputs
            refused = isinstance(got, str) and kind == "scoped" and ("token" in got or "no batch axis" in got)
            assert refused or not isinstance(got, str), got


@pytest.mark.parametrize(("family", "remote"), RUNS)
def test_edits_at_every_stream_at_once_in_any_order(held, family, remote):
    one = held(family)
    sites = streams(one.model)
    read = one.model.capture(one.tiny.inputs, sites)
    kinds = ("add", "fn", "listed", "scale")
    several: dict = {}
    for number, site in enumerate(reversed(sites)):
        kind = "zero" if site.stream == "heads" else kinds[number % len(kinds)]
        several |= edits(site, read)[kind]
    got = parity.check(one.model, one.tiny.inputs, several, sites, remote)
    assert not isinstance(got, str), got
    assert len(got.receipt) > len(sites)
