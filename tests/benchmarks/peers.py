"""The same reads and edits with other libraries; each gets its own copy of the model.

A peer that is not installed, or does not run, is a line in the report and not an error.
"""

from __future__ import annotations

import copy
import importlib
import tempfile
from collections.abc import Callable

import tokenizers
import torch
import transformers

Run = Callable[[], object]


def reading(model, inputs: dict, blocks: str) -> tuple[dict[str, Run], list[str]]:
    """Read every block's output; returns the runs and why others are missing."""
    count = len(model.get_submodule(blocks))
    makers = {
        "nnsight": _nnsight_reads,
        "baukit": _baukit_reads,
        "pyvene": _pyvene_reads,
        "transformer_lens": _lens_reads,
    }
    runs, missing = {}, []
    for name, make in makers.items():
        try:
            importlib.import_module(name)
            runs[name] = make(copy.deepcopy(model), inputs, blocks, count)
            runs[name]()
        except Exception as fault:
            runs.pop(name, None)
            missing.append(
                f"{name}: {type(fault).__name__}: {str(fault).splitlines()[0][:100] if str(fault) else ''}"
            )
    return runs, missing


def left_behind(model, inputs: dict, blocks: str) -> dict[str, Run]:
    """The bare call of a model that nnsight wrapped and is done with."""
    try:
        nnsight = importlib.import_module("nnsight")
    except ImportError:
        return {}
    wrapped = copy.deepcopy(model)
    nnsight.NNsight(wrapped)

    def run():
        with torch.no_grad():
            wrapped(**inputs)

    return {"wrapped by nnsight, idle": run}


def _nnsight_reads(model, inputs, blocks, count) -> Run:
    nnsight = importlib.import_module("nnsight")
    held = nnsight.NNsight(model)

    def run():
        saved = []
        with torch.no_grad():
            with held.trace(**inputs):
                for block in held.get(blocks) if hasattr(held, "get") else []:
                    saved.append(block.output.save())
        return saved

    return run


def _baukit_reads(model, inputs, blocks, count) -> Run:
    baukit = importlib.import_module("baukit")
    names = [f"{blocks}.{i}" for i in range(count)]

    def run():
        with torch.no_grad(), baukit.TraceDict(model, names) as trace:
            model(**inputs)
        return [trace[name].output for name in names]

    return run


def _pyvene_reads(model, inputs, blocks, count) -> Run:
    pyvene = importlib.import_module("pyvene")
    tokens = inputs["input_ids"].shape[1]
    config = pyvene.IntervenableConfig(
        [
            {"layer": i, "component": "block_output", "intervention_type": pyvene.CollectIntervention,
             "max_number_of_units": tokens}
            for i in range(count)
        ]
    )  # fmt: skip
    held = pyvene.IntervenableModel(config, model=model)
    places = {"base": [[list(range(tokens))]] * count}
    base = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    return lambda: held(base, unit_locations=places)


def _lens_reads(model, inputs, blocks, count) -> Run:
    bridge = importlib.import_module("transformer_lens.model_bridge")
    folder = tempfile.mkdtemp()  # the bridge wants a folder with a config and a tokenizer beside the model
    model.config.save_pretrained(folder)
    words = tokenizers.models.WordLevel({"<unk>": 0, "<pad>": 1, "<eos>": 2, "<bos>": 3}, unk_token="<unk>")
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(words), **special)
    fast.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    held = bridge.TransformerBridge.boot_transformers(
        folder, hf_model=model, tokenizer=tokenizer, device="cpu"
    )
    names = {f"blocks.{i}.hook_resid_post" for i in range(count)}

    def run():
        with torch.no_grad():
            return held.run_with_cache(inputs["input_ids"], names_filter=lambda name: name in names)

    return run
