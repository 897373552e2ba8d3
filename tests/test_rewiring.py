"""Blocks in another order: what runs is what was asked, by hand and by every family, and nothing is left."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from snapshots import differences, snapshot

import steerlab as sl
from steerlab.page.sections import interventions
from steerlab.rewiring import Wiring, rewired, wired
from steerlab.surrogates import BlockSizes, RaptorBlock, Surrogate

ZOO = {
    "zoo:shapes-vit": ("blocks", lambda: torch.randn(2, 3, 64, 64)),
    "zoo:motion-video": ("blocks", lambda: sl.inputs.Clips(2).load(None)),
    "zoo:shapes-clip vision": (
        "vision.blocks",
        lambda: {"pixel_values": torch.randn(2, 3, 64, 64), "input_ids": torch.tensor([[0, 5, 1]])},
    ),
    "zoo:shapes-clip text": (
        "text.blocks",
        lambda: {
            "pixel_values": torch.randn(1, 3, 64, 64),
            "input_ids": torch.tensor([[0, 5, 1], [0, 6, 1]]),
        },
    ),
    "llama": ("blocks", lambda: {"input_ids": torch.tensor([[1, 2, 3, 4]])}),
}


@pytest.fixture(scope="module")
def models():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    tiny = LlamaForCausalLM(LlamaConfig(vocab_size=11, pad_token_id=0, **sizes)).eval()
    clip = sl.load("zoo:shapes-clip")
    return {
        "zoo:shapes-vit": sl.load("zoo:shapes-vit"),
        "zoo:motion-video": sl.load("zoo:motion-video"),
        "zoo:shapes-clip vision": clip,
        "zoo:shapes-clip text": clip,
        "llama": sl.wrap(tiny),
    }


def last_of(model: sl.Model, at: str, inputs) -> torch.Tensor:
    """The stream as the final norm is given it, by a hook that imports nothing from here."""
    tower = at.rpartition("blocks")[0]
    module = model.site(f"{tower}final")
    norm = dict(model._points.find(str(module)))[module].module
    seen = []
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model.module(**model._prepared(inputs))
    handle.remove()
    return seen[-1]


def by_hand(model: sl.Model, at: str, order: list[int], inputs) -> torch.Tensor:
    """Every block called with its own arguments, recorded from a plain forward, in the order asked for."""
    blocks = [point.module for _, point in model._points.find(f"{at}.*.resid")]
    given, handles = {}, []
    for block in blocks:
        handles.append(
            block.register_forward_pre_hook(
                lambda b, args, kwargs: given.__setitem__(b, (args, kwargs)), with_kwargs=True
            )
        )
    with torch.no_grad():
        model.module(
            **model._prepared(inputs), **({"use_cache": False} if model.family.name == "llama" else {})
        )
    for handle in handles:
        handle.remove()
    state = given[blocks[0]][0][0]
    with torch.no_grad():
        for number in order:
            args, kwargs = given[blocks[number]]
            out = blocks[number](state, *args[1:], **kwargs)
            state = out if isinstance(out, torch.Tensor) else out[0]
    return state


@pytest.mark.parametrize("name", ZOO)
def test_the_order_is_what_runs_and_the_model_is_left_as_it_was(models, name):
    model, (at, inputs) = models[name], ZOO[name]
    torch.manual_seed(1)
    given = inputs()
    count = len(model.sites(f"{at}.*.resid"))
    every = list(range(count))
    orders = {
        "replaced": ({1: 0}, [0, 0, *every[2:]]),
        "skipped": ({1: None}, [0, *every[2:]]),
        "once more": ([*every, count - 1, count - 1], [*every, count - 1, count - 1]),
        "backwards": (every[::-1], every[::-1]),
    }
    before, plain = snapshot(model.module), last_of(model, at, given)
    for wiring, order in orders.values():
        with rewired(model, wiring, at=at):
            made = last_of(model, at, given)
        wanted = by_hand(model, at, order, given)
        # the norm of a vision tower is given the class token alone
        assert torch.equal(made, wanted if made.ndim == 3 else wanted[:, 0])
        assert not torch.allclose(made, plain, atol=1e-3)
    with pytest.raises(KeyError), rewired(model, {1: 0}, at=at):
        raise KeyError
    assert differences(before, snapshot(model.module)) == []
    assert torch.equal(last_of(model, at, given), plain)


def random_surrogate(model: sl.Model, at: str, span: tuple[int, int], cuts: tuple[int, ...]) -> Surrogate:
    width = dict(model._points.find(f"{at}.0.resid"))[model.site(f"{at}.0.resid")].shape[-1]
    sizes = BlockSizes(width, 2, hidden=8)
    torch.manual_seed(3)
    blocks = torch.nn.ModuleList(RaptorBlock(sizes, layer_scale=0.5) for _ in range(len(cuts) + 1))
    return Surrogate(sizes, span, cuts, {n: t.detach() for n, t in blocks.state_dict().items()}, at)


@pytest.mark.parametrize("name", ZOO)
def test_a_surrogate_runs_in_the_place_of_a_span(models, name):
    model, (at, inputs) = models[name], ZOO[name]
    torch.manual_seed(1)
    given = inputs()
    surrogate = random_surrogate(model, at, (1, 3), (2,))
    before = snapshot(model.module)
    sites = [f"{at}.1.resid_pre", f"{at}.2.resid"]
    states = surrogate.run(model.capture(given, at=sites[0])[sites[0]])
    with rewired(model, surrogate):
        made = last_of(model, at, given)
    assert differences(before, snapshot(model.module)) == []
    # the rest of the model, given what the closed loop gave, by an ordinary edit
    with model.edit({sites[1]: sl.Replace(states[-1])}):
        wanted = last_of(model, at, given)
    assert torch.allclose(made, wanted, atol=1e-5)
    assert not torch.allclose(made, last_of(model, at, given), atol=1e-3)


def test_a_cache_is_refused_and_sites_name_blocks(models):
    llama = models["llama"]
    ids = {"input_ids": torch.tensor([[1, 2, 3]])}
    with rewired(llama, {2: 1}):
        assert llama.module(**ids).past_key_values is None
        with pytest.raises(sl.SteerlabError, match="use_cache=False"):
            llama.module.generate(**ids, max_new_tokens=2, do_sample=False)
        greedy = llama.module.generate(**ids, max_new_tokens=2, do_sample=False, use_cache=False)
        assert llama.capture(ids, at="module:model.norm")["module:model.norm"].shape == (1, 3, 16)
        with pytest.raises(sl.SteerlabError, match="never"), llama.edit({"blocks.2.resid": sl.Scale(2.0)}):
            llama.module(**ids)
    assert greedy.shape == (1, 5) and llama.module(**ids).past_key_values is not None


@pytest.mark.parametrize(
    ("wiring", "says"),
    [
        ({9: 1}, "there are 6 blocks"),
        ([0, 6], "there are 6 blocks"),
        ([], "at least one"),
        ({0: True}, "there are 6 blocks"),
    ],
)
def test_what_cannot_be_wired_is_refused(models, wiring, says):
    with pytest.raises(sl.SteerlabError, match=says), rewired(models["zoo:shapes-vit"], wiring):
        pass


def test_two_rewirings_at_once_are_refused_and_the_first_goes_on(models):
    model = models["zoo:shapes-vit"]
    pixels = torch.randn(1, 3, 64, 64)
    with rewired(model, {1: 0}):
        inside = last_of(model, "blocks", pixels)
        with pytest.raises(sl.SteerlabError, match="another rewiring"), rewired(model, {2: 0}):
            pass
        assert torch.equal(last_of(model, "blocks", pixels), inside)


def test_a_model_that_does_not_run_its_list_in_order_is_refused(models):
    model = sl.load("zoo:shapes-vit")
    blocks = model.module.encoder.layer
    kept = type(blocks).__iter__
    odd = type("Backwards", (type(blocks),), {"__iter__": lambda self: reversed(list(kept(self)))})
    blocks.__class__ = odd
    with pytest.raises(sl.SteerlabError, match="from first to last"), rewired(model, {1: 0}):
        pass


FRESH = """
import sys, torch, steerlab as sl
from steerlab.rewiring import rewired
from steerlab.store import load_intervention
model = sl.load("zoo:shapes-vit")
pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
for folder in sys.argv[1:]:
    with rewired(model, load_intervention(folder)):
        print(model.capture(pixels, at="final")["final"].double().sum().item().hex())
"""


def test_saved_wirings_do_the_same_in_a_fresh_process_and_refuse_other_models(models, tmp_path):
    model = models["zoo:shapes-vit"]
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    surrogate = random_surrogate(model, "blocks", (2, 5), (3,))
    here, folders = [], []
    for wiring in (wired(model, [0, 1, 2, 2, 4, 5], about="block 2 again for 3"), surrogate):
        folders.append(sl.save_intervention(wiring, tmp_path / type(wiring).__name__, model=model))
        with rewired(model, wiring):
            here.append(model.capture(pixels, at="final")["final"].double().sum().item().hex())
        again = sl.load_intervention(folders[-1])
        assert type(again) is type(wiring) and again.about == wiring.about
        with pytest.raises(sl.SteerlabError, match="made on Dinov2WithRegistersModel"):
            with rewired(models["zoo:motion-video"], again):
                pass
    command = [sys.executable, "-c", FRESH, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == here and here[0] != here[1]


def test_a_report_keeps_wirings_among_its_interventions(models, tmp_path):
    model = models["zoo:shapes-vit"]
    report = sl.Report("orders", interventions={"skip": wired(model, {3: None}, about="without block 3")})
    again = sl.Report.load(report.save(tmp_path))
    assert str(again) == str(report) and "without block 3" in str(report)
    assert isinstance(again.interventions["skip"], Wiring)
    assert again.interventions["skip"].order == (0, 1, 2, 4, 5)
    told = interventions(again.interventions)
    assert "Wiring(blocks in the order 0, 1, 2, 4, 5)" in told and "with sl.rewired(model, change):" in told


def test_a_wiring_where_edits_belong_says_how_it_is_applied(models):
    model = models["zoo:shapes-vit"]
    with pytest.raises(sl.SteerlabError, match="a Wiring exchanges blocks; write with sl.rewired"):
        model.edit(wired(model, {1: 0}))


def test_blocks_that_are_left_out_leave_the_others_their_own_cache(models):
    llama = models["llama"]
    ids = torch.tensor([[1, 2, 3, 4]])
    whole = llama.capture({"input_ids": ids}, at="blocks.0.resid")["blocks.0.resid"]
    past = llama.module(input_ids=ids[:, :3], use_cache=True).past_key_values
    with llama.edit({"blocks.1.resid_pre": sl.Replace(whole[:, 3:])}), rewired(llama, {0: None}, cached=True):
        made = llama.module(input_ids=ids[:, 3:], past_key_values=past, use_cache=True).logits
    assert torch.allclose(made, llama.logits({"input_ids": ids})[:, 3:], atol=1e-5)
    with (
        pytest.raises(sl.SteerlabError, match="left out, and not exchanged"),
        rewired(llama, {2: 1}, cached=True),
    ):
        pass
    surrogate = random_surrogate(llama, "blocks", (1, 3), (2,))
    with pytest.raises(sl.SteerlabError, match="cached=False"), rewired(llama, surrogate, cached=True):
        pass
