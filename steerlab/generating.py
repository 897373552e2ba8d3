"""Generation under an intervention: transformers' own `generate`, called with the edit in place.

The cache holds the keys and values of the tokens that were read, as they were when they were read. An
intervention that begins later therefore finds old ones and leaves them; only what is read from then on is
edited. With `recompute_cache` everything said so far is read again under the intervention when it begins.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from steerlab.clock import Clock
from steerlab.editing import Arm, Editing
from steerlab.errors import SteerlabError, nearest
from steerlab.families.padding import left_padded
from steerlab.intervention import Changes
from steerlab.points import Points
from steerlab.receipts import Receipt
from steerlab.signatures import parameter_names
from steerlab.starting import Start

OURS = ("max_new_tokens", "begin", "recompute_cache", "stream", "strict")
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
LENGTHS = ("max_new_tokens", "max_length")


class Held(Protocol):
    """What is needed of a held model."""

    module: Any
    processor: Any
    _points: Points

    def _clock(self) -> Clock: ...

    def _prepared(self, inputs: Any) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Generated:
    """What a model said, and what the intervention did while it spoke. Printing it shows the texts.

    Attributes
    ----------
    texts : list of str
        The new text of each row, without special tokens; empty where there is no tokenizer.
    prompt_tokens : int
        Columns of `ids` that are the prompt, padding counted.
    receipt : Receipt
        What the edits did; empty without any.
    output : ModelOutput
        What transformers returned, with the logits and scores that were asked for.
    """

    texts: list[str]
    prompt_tokens: int
    receipt: Receipt
    output: Any

    @property
    def ids(self) -> torch.Tensor:
        """Prompt and answer of each row, ``[row, token]``."""
        return self.output.sequences

    @property
    def new_ids(self) -> torch.Tensor:
        """The answer of each row, ``[row, token]``; padding follows where it ended early."""
        return self.ids[:, self.prompt_tokens :]

    @property
    def cache(self) -> Any:
        """Keys and values of every token but the last; ``past_key_values=`` of a call that goes on."""
        return self.output.get("past_key_values")

    def __str__(self) -> str:
        return "\n".join(self.texts or [str(row.tolist()) for row in self.new_ids])


def generate(
    model: Held,
    prompt: Any,
    edit: Changes | Sequence[Changes | None] | None,
    options: Mapping[str, Any],
) -> Generated:
    """Continue a prompt under an intervention.

    Parameters
    ----------
    model : Held
        The model.
    prompt : object
        A text, several, chat messages, ids ``[row, token]`` or keyword arguments of the model. Tensors are
        taken as they are, but for padding on the right, which is moved to the left: the next token is read
        from the last column.
    edit : dict, or list of dicts and None
        Sites and edits. A list holds one intervention for each prompt and all its answers; None leaves its
        rows alone.
    options : mapping
        ``max_new_tokens`` (64); ``begin`` (0): after so many new tokens the intervention begins;
        ``recompute_cache``: what was said until then is read again under it; ``stream``: True prints the text
        as it comes, a function is given its pieces; ``strict`` as for `edit`. All others are those of
        transformers' `generate`. Answers are greedy unless an option of sampling is given.
    """
    if not callable(getattr(model.module, "generate", None)):
        raise SteerlabError(f"{type(model.module).__name__} does not generate: it has no head for words")
    _check_names(model.module, options)
    ours, theirs = _settled(options)
    read = [name for name, value in theirs.items() if isinstance(value, torch.Tensor)] + ["past_key_values"]
    more = {name: theirs.pop(name) for name in read if name in theirs}
    kwargs = left_padded({**_known_to(model.module, model._prepared(prompt), prompt), **more})
    answers = _answers(theirs)
    prompts = next(v.shape[0] for v in kwargs.values() if isinstance(v, torch.Tensor) and v.ndim)
    tokenizer = getattr(model.processor, "tokenizer", model.processor)
    if ours.stream:
        theirs["streamer"] = _streamer(ours.stream, tokenizer, prompts * answers)
    clock = model._clock()
    editing = None
    if edit is not None:
        editing = Editing(model._points, clock, _arms(edit, prompts, answers), strict=ours.strict)
    columns = kwargs["input_ids"].shape[1] if "input_ids" in kwargs else 0
    start = Start(model.module, columns, ours.begin, ours.recompute) if ours.begin and editing else None
    if ours.recompute and not ours.begin:  # from the first word on: nothing that was read before is kept
        kwargs.pop("past_key_values", None)
    with ExitStack() as stack:
        if start is not None:
            start.prepare(stack, clock, editing, kwargs)
            theirs["stopping_criteria"] = start.among(theirs.get("stopping_criteria"))
        elif editing is not None:
            stack.enter_context(editing)
        output = model.module.generate(**kwargs, **theirs)
        if start is not None and ours.strict:
            start.check(output.sequences.shape[1])
    texts = [] if tokenizer is None else _texts(tokenizer, output.sequences[:, columns:])
    return Generated(texts, columns, Receipt() if editing is None else editing.receipt, output)


@dataclass(frozen=True)
class _Ours:
    """The options that are not transformers'."""

    begin: int
    recompute: bool
    stream: Any
    strict: bool


def _settled(options: Mapping[str, Any]) -> tuple[_Ours, dict[str, Any]]:
    """Our options, and transformers' with our defaults."""
    theirs = dict(options)
    begin = theirs.pop("begin", 0)
    ours = _Ours(
        begin,
        bool(theirs.pop("recompute_cache", False)),
        theirs.pop("stream", None),
        bool(theirs.pop("strict", True)),
    )
    config = copy.deepcopy(theirs.pop("generation_config", None))
    if config is not None:  # transformers would rather have all of it in one place
        theirs = config.update(**theirs)
        said = {name: value for name, value in vars(config).items() if value is not None}
    else:
        said = {name: value for name, value in theirs.items() if value is not None}
    sampled = [name for name in SAMPLING if name in said]
    defaults = {
        **({} if any(name in said for name in LENGTHS) else {"max_new_tokens": 64}),
        **({} if "do_sample" in said or config is not None else {"do_sample": bool(sampled)}),
        "return_dict_in_generate": True,
    }
    if config is not None:
        config.update(**defaults)
        theirs["generation_config"] = config
    else:
        theirs |= defaults
    _check_begin(begin, {**said, **defaults})
    return ours, theirs


def _check_begin(begin: Any, said: Mapping[str, Any]) -> None:
    if not isinstance(begin, int) or isinstance(begin, bool) or begin < 0:
        raise SteerlabError(f"begin={begin!r}: give the number of new tokens before the intervention begins")
    most = said.get("max_new_tokens")
    if most is not None and begin >= most:
        raise SteerlabError(f"begin={begin}: at most {most} new tokens are generated, so it never begins")
    helped = [name for name in ("assistant_model", "prompt_lookup_num_tokens") if said.get(name) is not None]
    if begin and helped:
        raise SteerlabError(
            f"begin={begin}: with {helped[0]} tokens come several at a time, and the intervention cannot "
            "begin between two of them; choose tokens='generated[...]' instead"
        )


def _answers(theirs: Mapping[str, Any]) -> int:
    """Rows that each prompt has while the model generates."""
    config = theirs.get("generation_config")
    counts = [
        theirs.get(name, getattr(config, name, None)) or 1 for name in ("num_beams", "num_return_sequences")
    ]
    return max(counts)


def _arms(edit: Any, prompts: int, answers: int) -> list[Arm]:
    if not isinstance(edit, (list, tuple)):
        return [Arm(edit)]
    if len(edit) != prompts:
        raise SteerlabError(
            f"edit holds {len(edit)} interventions for {prompts} prompts; give one a prompt, None to leave "
            "it alone"
        )
    arms = [
        Arm(one, slice(row * answers, (row + 1) * answers)) for row, one in enumerate(edit) if one is not None
    ]
    if not arms:
        raise SteerlabError("the list holds no intervention: every row is None")
    return arms


def _check_names(module: Any, options: Mapping[str, Any]) -> None:
    """Refuse an option that nobody knows, before anything runs."""
    if "custom_generate" in options:  # it may take anything
        return
    known = {
        *OURS,
        *(name for name in vars(type(module.generation_config)()) if not name.startswith("_")),
        *parameter_names(module.generate),
        *parameter_names(module.forward),
        *("tokenizer", "assistant_tokenizer", "past_key_values"),
    } - {"inputs", "input_ids"}
    for name in options:
        if name not in known:
            raise SteerlabError(
                f"generate(..., {name}=...): neither steerlab nor transformers knows this option"
                f"{nearest(name, known)}"
            )


def _known_to(module: Any, kwargs: dict[str, Any], prompt: Any) -> dict[str, Any]:
    """What a tokenizer gives beyond what the model takes is left out; what the user gave stays."""
    if isinstance(prompt, Mapping):
        return kwargs
    names = parameter_names(module.forward)
    return {name: value for name, value in kwargs.items() if name in names}


def _streamer(stream: Any, tokenizer: Any, rows: int) -> Any:
    """A streamer of text, which prints it or hands it to a function."""
    from transformers import TextStreamer

    if rows > 1:
        raise SteerlabError(f"stream: {rows} rows speak at once; stream one answer to one prompt")
    if tokenizer is None:
        raise SteerlabError("stream: text needs a tokenizer: wrap(model, tokenizer)")
    if stream is not True and not callable(stream):
        raise SteerlabError(f"stream={stream!r}: give True, or a function that is given pieces of text")
    printing = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    if stream is not True:
        printing.on_finalized_text = lambda text, stream_end=False: stream(text) if text else None
    return printing


def _texts(tokenizer: Any, ids: torch.Tensor) -> list[str]:
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids.tolist()]
