"""nnsight models that users have, requests to a server, what is left behind, and what is refused."""

from __future__ import annotations

import ast
import copy
import inspect
import subprocess
import sys
import warnings
from pathlib import Path

import nnsight
import parity
import pytest
import tiny
import torch
from nnsight import NNsight, TransformersModel
from nnsight.modeling.mixins.remotable import Remotable
from nnsight.ndif import pull_env
from nnsight.schema.request import RequestModel
from nnsight.tracing.backend import Backend
from nnsight.tracing.tracer import save
from nnsight.tracing.util import push
from torch import nn

import steerlab as sl
from steerlab.backends import tracing
from steerlab.backends.nnsight import Traced, run
from steerlab.bases import Linear, Relu, TopK

# Edits of a stream, a head, a sum of two outputs and an input; scoped by place, word and row.
EDIT = {
    "blocks.0.resid": [sl.Scale(1.5).on(tokens="last"), sl.Fn(parity.noisy)],
    "blocks.1.heads.2": sl.Zero(),
    "blocks.1.resid_mid": sl.Add(torch.linspace(-1, 1, 32)).on(rows=0, tokens="word:Tuesday"),
    "blocks.2.mlp.act": sl.Scale(0.5),
}
AT = ["blocks.1.heads.2", "blocks.1.resid_mid", "blocks.*.resid", "logits"]


def language_model(one: tiny.Tiny, kind: type = TransformersModel) -> nnsight.NNsight:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nnsight.NNsightDeprecationWarning)  # LanguageModel is the older name
        return kind(one.model, tokenizer=one.tokenizer, task="text-generation")


@pytest.mark.parametrize("remote", [False, "local"])
@pytest.mark.parametrize("kind", [NNsight, TransformersModel, nnsight.LanguageModel])
@pytest.mark.parametrize("padded", [False, True])
def test_a_users_own_nnsight_model_is_traced(kind, padded, remote):
    one = tiny.tiny("llama")
    lm = NNsight(one.model) if kind is NNsight else language_model(one, kind)
    model = sl.wrap(lm, one.tokenizer)
    assert model.held is lm and model.module is one.model
    got = parity.check(model, one.padded if padded else one.inputs, EDIT, AT, remote)
    assert not isinstance(got, str), got
    with lm.trace(**one.inputs):  # it goes on working
        logits = nnsight.save(lm.output.logits)
    assert torch.equal(logits, one.model(**one.inputs).logits)


def test_the_tokenizer_comes_with_the_nnsight_model_and_prompts_are_texts():
    one = tiny.tiny("gpt2")
    model = sl.wrap(language_model(one))
    edit = {"blocks.0.resid": sl.Zero().on(tokens="word:Monday")}
    prompts = ["the cat sat on Monday .", "Monday is a day"]
    for remote in (False, "local"):
        traced = run(model, prompts, edit=edit, at="blocks.0.resid", remote=remote)
        with model.edit(edit):
            assert torch.equal(traced.output.logits, model.logits(prompts))
        chosen = traced.activations.map_of("blocks.0.resid").select("word:Monday")
        assert chosen.sum() == 2 and not traced.activations["blocks.0.resid"][chosen].any()


def test_edits_that_the_user_made_in_their_nnsight_model_act_too():
    one = tiny.tiny("llama")
    lm = NNsight(one.model)
    model = sl.wrap(lm)
    with lm.edit(inplace=True):
        lm.model.layers[0].mlp.output[:] = 0
    traced = run(model, one.inputs, edit={"blocks.1.mlp": sl.Scale(2.0)})
    both = {"blocks.0.mlp": sl.Zero(), "blocks.1.mlp": sl.Scale(2.0)}
    assert parity.equal(traced.output.logits, parity.native(model, one.inputs, both, "logits").output.logits)


@pytest.mark.parametrize("remote", [False, "local"])
def test_native_edits_act_inside_a_users_own_trace_and_are_read_downstream(remote):
    one = tiny.tiny("llama")
    lm = language_model(one)
    model = sl.wrap(lm)
    edit = {"blocks.0.resid": sl.Add(torch.ones(32)), "blocks.1.pattern": sl.Scale(0.5)}
    expected = parity.native(model, one.inputs, edit, ["blocks.0.resid", "logits"])
    bare = model.capture(one.inputs, "blocks.0.resid")
    with torch.no_grad(), model.edit(edit) as receipt:
        with lm.trace(**one.inputs, remote=remote):
            own = nnsight.save(lm.model.layers[0].output)
            downstream = nnsight.save(lm.model.layers[1].input)
            logits = nnsight.save(lm.output.logits)
    assert torch.equal(logits, expected.output.logits)
    assert torch.equal(downstream, expected.activations["blocks.0.resid"])
    assert torch.equal(own, bare["blocks.0.resid"])  # nnsight sees a module's output before hooks do
    assert [entry.fires for entry in receipt] == [1, 1]


def test_a_native_context_and_a_trace_of_ours_add_up(held):
    one = held("vit")
    inner, outer = {"blocks.1.resid": sl.Scale(2.0)}, {"blocks.0.resid": sl.Add(torch.ones(32))}
    with one.model.edit(outer):
        traced = run(one.model, one.tiny.inputs, edit=inner, at="blocks.1.resid")
    expected = parity.native(one.model, one.tiny.inputs, outer | inner, "blocks.1.resid")
    assert parity.differences(traced, Traced(expected.output, expected.activations, None)) == []


class Server(Backend):
    """Sends a request to `server.py` instead of NDIF."""

    def __init__(self, model: TransformersModel, folder: Path) -> None:
        self.model, self.folder = model, folder

    def __call__(self, tracer) -> None:
        pull_env()
        model, request, result = (self.folder / name for name in ("model", "request", "result"))
        request.write_bytes(RequestModel.serialize(tracer))
        module = copy.deepcopy(self.model._module)
        for part in module.modules():
            for name in ("forward", "__nnsight__", "_persistent_id"):
                vars(part).pop(name, None)
        torch.save((module, tiny.word_tokenizer()), model)
        script = Path(__file__).with_name("server.py")
        command = [sys.executable, str(script), *map(str, (model, request, result))]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False)
        assert done.returncode == 0, done.stderr
        values = torch.load(result, weights_only=False)
        for value in values.values():
            save(value)
        push(tracer.info.frame, values)


def test_a_request_runs_in_a_process_without_steerlab(tmp_path, monkeypatch):
    one = tiny.tiny("llama")
    model = sl.wrap(language_model(one))
    monkeypatch.setattr(Remotable, "_remote_backend", lambda self, *how: Server(self, tmp_path))
    got = parity.check(model, one.padded, EDIT, AT, remote=True)
    assert not isinstance(got, str), got
    assert (tmp_path / "request").stat().st_size < 200_000


class Broken(sl.Edit):
    def __call__(self, x):
        raise RuntimeError("broken")


@pytest.mark.parametrize("remote", [False, "local"])
def test_an_error_in_an_edit_comes_out_and_leaves_nothing_behind(held, remote):
    one = held("llama")  # the fixture compares every attribute of every module
    bare = one.tiny.model(**one.tiny.inputs).logits
    at = ["blocks.1.pattern", "blocks.1.resid"]
    with pytest.raises(RuntimeError, match="broken") as caught:
        run(
            one.model,
            one.tiny.inputs,
            edit={"blocks.0.resid": Broken(), "blocks.1.q": sl.Zero()},
            at=at,
            remote=remote,
        )
    assert "at blocks.0.resid" in "".join(caught.value.__notes__)
    message = r"blocks\.0\.resid: .* shape \[3\] does not fit"
    with pytest.raises(sl.SteerlabError, match=message):
        run(one.model, one.tiny.inputs, edit={"blocks.0.resid": sl.Add(torch.ones(3))}, remote=remote)
    assert torch.equal(one.tiny.model(**one.tiny.inputs).logits, bare)
    parity.check(one.model, one.tiny.inputs, {"blocks.0.resid": sl.Scale(2.0)}, at, remote)


def test_what_was_on_a_module_before_is_put_back():
    one = tiny.tiny("vit")
    first = NNsight(one.model)
    block = one.model.encoder.layer[0] if hasattr(one.model, "encoder") else one.model.layers[0]
    before = dict(vars(block))
    model = sl.wrap(one.model)
    parity.check(model, one.inputs, {"blocks.0.resid": sl.Scale(2.0)}, "final", "local")
    assert "__nnsight__" in before and dict(vars(block)) == before
    with first.trace(**one.inputs):
        output = nnsight.save(first.output.last_hidden_state)
    assert torch.equal(output, one.model(**one.inputs).last_hidden_state)


@pytest.mark.parametrize("remote", [False, "local"])
def test_a_plain_module_and_a_module_called_many_times(held, remote):
    one = held("plain")
    edit = {"module:3": sl.Scale(2.0), "module:1:input": sl.Fn(parity.noisy)}
    assert not isinstance(
        parity.check(one.model, one.tiny.inputs, edit, ["module:0", "module:5"], remote), str
    )
    shared = nn.Linear(4, 4)
    model = sl.wrap(nn.Sequential(shared, nn.Tanh(), shared).requires_grad_(False))
    got = parity.check(model, {"input": torch.randn(2, 4)}, {"module:0": sl.Scale(2.0)}, "module:0", remote)
    assert got.receipt["module:0"].fires == 2 and got.activations["module:0"].shape == (2, 2, 4)


@pytest.mark.parametrize("remote", [False, "local"])
def test_the_unet_of_a_pipeline_as_a_module(held, remote):
    pipe = held("sd").tiny.model
    model = sl.wrap(pipe.unet, family="plain")
    inputs = {"sample": torch.randn(2, 4, 16, 16), "timestep": torch.tensor(7)}
    inputs["encoder_hidden_states"] = torch.randn(2, 16, 32)
    path = "module:down_blocks.1.attentions.0"
    edit = {path: sl.Scale(1.5), "module:mid_block": sl.Fn(parity.noisy)}
    assert not isinstance(parity.check(model, inputs, edit, [path, "module:conv_out"], remote), str)


@pytest.mark.parametrize("remote", [False, "local"])
@pytest.mark.parametrize("rule", [Relu(), TopK(4)], ids=("relu", "top-k"))
def test_codes_are_edited_alike(held, rule, remote):
    one, generator = held("llama"), torch.Generator().manual_seed(0)
    decoder, weight = (torch.randn(24, 32, generator=generator) for _ in range(2))
    sae = sl.Dictionary(decoder=decoder, encoder=Linear(weight.T.contiguous(), torch.zeros(24), rule))
    edits = [sl.Scale(0.5, sae), sl.Clamp(1.0, 1.0, sae.only([3, 7])), sl.Zero(sae.without([3, 7]))]
    parity.check(one.model, one.tiny.inputs, {"blocks.1.resid": edits}, ["blocks.1.resid", "final"], remote)


class Inherited(sl.Scale):
    def __call__(self, x):
        return super().__call__(x)


class Private(sl.Zero):
    def __call__(self, x):
        return self.__zero(x)

    def __zero(self, x):
        return 0 * x


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Inherited(2.0), r"uses super\(\)"),
        (sl.Chain([sl.Zero(), Private()]), "uses a private __name"),
        (sl.Fn(torch.no_grad()(parity.noisy)), "wrapped by a decorator"),
    ],
)
def test_edits_that_source_cannot_carry_run_here_but_are_not_sent(held, edit, reason):
    one = held("llama")
    assert not isinstance(parity.check(one.model, one.tiny.inputs, {"blocks.0.resid": edit}, "logits"), str)
    with pytest.raises(sl.SteerlabError, match=rf"blocks\.0\.resid: .* cannot be sent: .* {reason}"):
        run(one.model, one.tiny.inputs, edit={"blocks.0.resid": edit}, remote="local")


def test_what_cannot_be_run_is_refused_with_what_to_do_instead(held):
    one = held("llama")
    inputs = one.tiny.inputs
    with pytest.raises(sl.SteerlabError, match=r'remote=\'ndif\': give False, True or "local"'):
        run(one.model, inputs, remote="ndif")
    with pytest.raises(
        sl.SteerlabError, match=r"LlamaForCausalLM is a module of this process; wrap nnsight\.Tr"
    ):
        run(one.model, inputs, remote=True)
    with pytest.raises(
        sl.SteerlabError, match=r"blocks\.1\.q, blocks\.1\.pattern: sites inside attention .* use heads"
    ):
        run(one.model, inputs, edit={"blocks.1.q": sl.Zero()}, at="blocks.1.pattern", remote=True)
    with pytest.raises(sl.SteerlabError, match=r"Pipeline is a pipeline, .* use model\.edit"):
        run(held("sd").model, held("sd").tiny.inputs)
    with pytest.raises(sl.SteerlabError, match=r"an edited or read module never ran .*layers"):
        run(one.model, inputs, at="module:model.layers")


def test_models_of_nnsight_that_cannot_be_used_are_refused():
    one = tiny.tiny("llama")
    lm = NNsight(one.model)
    model = sl.wrap(lm)
    with pytest.raises(sl.SteerlabError, match="NNsight is a module of this process"):
        run(model, one.inputs, remote=True)
    with pytest.raises(sl.SteerlabError, match="is inside a trace already"):
        with lm.trace(**one.inputs):
            run(model, one.inputs)
    with torch.device("meta"):
        empty = type(one.model)(one.model.config)
    with pytest.raises(sl.SteerlabError, match=r"has no weights yet; make it with dispatch=True"):
        sl.wrap(NNsight(empty))


def test_the_traced_block_keeps_its_lines_when_it_is_rebuilt_from_source():
    # nnsight runs ast.unparse(block) on a server, and finds the inner `with` blocks by their line numbers
    lines, tree = inspect.getsource(tracing).splitlines(), ast.parse(inspect.getsource(tracing))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    (block,) = [node for node in blocks if ast.unparse(node.items[0]).startswith("model.trace(")]
    written = [line.strip().replace('"', "'") for line in lines[block.body[0].lineno - 1 : block.end_lineno]]
    rebuilt = ast.unparse(ast.Module(block.body, [])).splitlines()
    assert written == [line.strip() for line in rebuilt]
