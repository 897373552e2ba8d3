"""Law 2: whatever happens inside a context, afterwards the model is as it was found."""

from __future__ import annotations

import gc
from contextlib import ExitStack

import oracles
import pytest
import snapshots
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import steerlab as sl

FAMILIES = ["llama", "dinov2_with_registers", "clip", "timm_vit", "sd"]
# sites of every kind of tap: output, input, sum, attention table, projected attention, difference
SITES = {
    "llama": ["blocks.1.resid", "blocks.1.heads", "blocks.1.resid_mid", "blocks.2.pattern", "blocks.0.q"],
    "dinov2_with_registers": ["blocks.1.resid", "blocks.1.resid_mid", "blocks.2.scores"],
    "clip": ["vision.blocks.1.resid", "text.blocks.0.pattern", "vision.blocks.0.mlp.act"],
    "timm_vit": ["blocks.1.resid", "blocks.1.pattern", "blocks.0.v"],
    "sd": ["unet.down.1.0.update", "unet.mid.0.blocks.0.cross.pattern", "text_encoder.blocks.0.resid"],
}


class Interrupted(Exception):
    """Raised by the tests in places where nobody expects it."""


OFTEN = {"max_examples": 100, "deadline": None, "derandomize": True, "database": None}


def raising(fault: type[BaseException]):
    def fail(*_: object) -> torch.Tensor:
        raise fault("on purpose")

    return fail


def lifted(x: torch.Tensor) -> torch.Tensor:
    """Change scores, patterns and streams alike."""
    return x * 1.5 + 0.01


def everywhere(family: str) -> dict[str, sl.Edit]:
    return {site: sl.Fn(lifted) for site in SITES[family]}


@pytest.fixture
def found(held):
    """A model, and a check that it is as it was found."""

    def take(family: str):
        one = held(family)
        before, output = snapshots.snapshot(one.tiny.model), oracles.bare(one.tiny)

        def check() -> None:
            assert snapshots.differences(before, snapshots.snapshot(one.tiny.model)) == []
            assert torch.equal(oracles.bare(one.tiny), output)

        return one, check

    return take


@pytest.mark.parametrize("family", FAMILIES)
def test_the_snapshot_sees_an_edit_that_is_on_and_a_read_that_is_on(family, held):
    one = held(family)
    for site in SITES[family]:
        for context in (one.model.edit({site: sl.Zero()}, strict=False), one.model.read(site)):
            before = snapshots.snapshot(one.tiny.model)
            with context:
                assert snapshots.differences(before, snapshots.snapshot(one.tiny.model)), site


@pytest.mark.parametrize("family", sorted(sl.families.FAMILIES))
def test_holding_a_model_leaves_no_trace_on_it(family):
    made = tiny.tiny(family)
    before = snapshots.snapshot(made.model)
    sl.wrap(made.model, made.tokenizer)
    assert snapshots.differences(before, snapshots.snapshot(made.model)) == []
    assert before["attention, ours"] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_after_a_normal_exit(family, found):
    one, check = found(family)
    with one.model.edit(everywhere(family)), one.model.read(SITES[family], every=True):
        oracles.bare(one.tiny)
    check()


@pytest.mark.parametrize("fault", [Interrupted, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("family", FAMILIES)
def test_after_a_fault_in_an_edit(family, fault, found):
    one, check = found(family)
    with pytest.raises(fault, match="on purpose"), one.model.read(SITES[family]):
        with one.model.edit({**everywhere(family), SITES[family][-1]: sl.Fn(raising(fault))}):
            oracles.bare(one.tiny)
    check()


@pytest.mark.parametrize("fault", [Interrupted, KeyboardInterrupt])
@pytest.mark.parametrize("family", FAMILIES)
def test_after_a_fault_in_the_forward(family, fault, found):
    one, check = found(family)
    point = oracles.points(one.tiny)[SITES[family][0]]
    user = oracles.module_at(one.tiny.model, point.path).register_forward_hook(raising(fault))
    try:
        with pytest.raises(fault, match="on purpose"), one.model.edit(everywhere(family)):
            oracles.bare(one.tiny)
        with pytest.raises(fault, match="on purpose"):
            one.model.capture(one.tiny.inputs, at=SITES[family])
    finally:
        user.remove()
    check()


@pytest.mark.parametrize("family", FAMILIES)
def test_after_an_edit_that_never_fired(family, found):
    one, check = found(family)
    with pytest.raises(sl.SteerlabError, match="never fired"), one.model.edit(everywhere(family)):
        pass
    check()


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "sd"])
def test_after_a_capture_that_ended_the_forward_early(family, found):
    one, check = found(family)
    reached = []
    last = list(one.tiny.model.modules())[-1]
    handle = last.register_forward_hook(lambda *_: reached.append(True))
    one.model.capture(one.tiny.inputs, at=SITES[family][:1])
    handle.remove()
    assert (
        not reached or family == "llama"
    )  # its last module belongs to the rotary embedding, which runs first
    check()


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "sd"])
def test_after_a_stream_that_is_dropped_half_way(family, found):
    one, check = found(family)
    stream = one.model.stream([one.tiny.inputs] * 3, at=SITES[family], progress=False)
    next(stream)
    check()  # nothing stays on the model between two batches
    del stream
    gc.collect()
    check()


BAD = {
    "no such block": ("blocks.99.resid", "blocks.99"),
    "no such head": ("blocks.0.heads.99", "99"),
    "no such stream": ("blocks.0.hads", "hads"),
    "no such module": ("module:nowhere", "nowhere"),
}


@pytest.mark.parametrize("bad", BAD)
def test_after_one_bad_site_among_good_ones(bad, found):
    one, check = found("llama")
    site, said = BAD[bad]
    with (
        pytest.raises(sl.SteerlabError, match=said),
        one.model.edit({**everywhere("llama"), site: sl.Zero()}),
    ):
        raise AssertionError("the context was entered")
    with pytest.raises(sl.SteerlabError, match=said):
        one.model.capture(one.tiny.inputs, at=[*SITES["llama"], site])
    check()


@pytest.mark.parametrize("failing", range(6))
def test_after_an_install_that_fails_half_way(failing, found, monkeypatch):
    one, check = found("llama")
    calls, real = [], torch.nn.Module.register_forward_pre_hook

    def register(self, *args, **kwargs):
        calls.append(self)
        if len(calls) > failing:
            raise Interrupted("no more room")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "register_forward_pre_hook", register)
    edits = {site: sl.Fn(lifted).on(tokens="last") for site in ("**.resid_mid", "**.heads", "**.pattern")}
    with pytest.raises(Interrupted), one.model.edit(edits):
        raise AssertionError("the context was entered")
    with pytest.raises(Interrupted), one.model.read(["**.resid_mid", "**.heads", "**.pattern", "**.resid"]):
        raise AssertionError("the context was entered")
    monkeypatch.undo()
    check()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_every_module_is_left_as_it_was(training):
    made = tiny.tiny("dinov2")
    made.model.train(training)
    made.model.layernorm.train(not training)
    modes = {path: module.training for path, module in made.model.named_modules()}
    model = sl.wrap(made.model)
    model.capture(made.inputs, at="**.resid")
    with model.edit({"blocks.1.resid": sl.Scale(2.0)}):
        made.model(**made.inputs)
    assert {path: module.training for path, module in made.model.named_modules()} == modes


ANY = [
    *("blocks.0.resid", "blocks.1.resid_pre", "blocks.1.resid_mid", "blocks.1.heads.2", "blocks.2.pattern"),
    *("blocks.0.scores", "blocks.2.v.1", "blocks.1.mlp.act", "final", "logits", "module:model.norm:input"),
]
step = st.tuples(
    st.sampled_from(["edit", "edit last", "read", "run", "capture", "leave", "generate"]),
    st.lists(st.sampled_from(ANY), min_size=1, max_size=3, unique=True),
    st.booleans(),
)


@settings(**OFTEN, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, min_size=2, max_size=8))
def test_after_any_interleaving_of_contexts_and_faults(held, steps):
    one = held("llama")
    before, output = snapshots.snapshot(one.tiny.model), oracles.bare(one.tiny)
    try:
        with ExitStack() as stack:
            for verb, sites, fault in steps:
                fn = raising(Interrupted) if fault else lifted
                scope = (
                    {"tokens": "last"}
                    if verb == "edit last" and "module" not in str(sites)
                    else {"rows": [0]}
                )
                if verb.startswith("edit"):
                    stack.enter_context(
                        one.model.edit({s: sl.Fn(fn).on(**scope) for s in sites}, strict=False)
                    )
                elif verb == "read":
                    stack.enter_context(one.model.read(sites, every=fault))
                elif verb == "leave":
                    stack.pop_all().close() if fault else None
                elif verb == "capture":
                    one.model.capture(one.tiny.inputs, at=sites)
                elif verb == "generate":
                    one.tiny.model.generate(**one.tiny.padded, max_new_tokens=2, pad_token_id=0)
                else:
                    oracles.bare(one.tiny)
    except (Interrupted, sl.SteerlabError):  # the library refuses, too: tokens of logits that generation cut
        pass
    assert snapshots.differences(before, snapshots.snapshot(one.tiny.model)) == []
    assert torch.equal(oracles.bare(one.tiny), output)
