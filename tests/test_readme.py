"""The README: every block of Python runs, in order, and what it lists is what there is."""

from __future__ import annotations

import linecache
import re
from pathlib import Path

import pytest

import steerlab as sl
from steerlab.edits import EDITS
from steerlab.sites import STREAMS

TEXT = (Path(sl.__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = (
    "pip install uv && uv run steerlab run recipes/quickstart.toml",
    "pip install uv && uv run --extra test pytest",
)
START = {
    match.group(1): TEXT[: match.start(1)].count("\n")
    for match in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.S | re.M)
}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the blocks share: they run one after the other, in an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        yield {}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs(names, number):
    code = "\n" * START[BLOCKS[number]] + BLOCKS[number]  # so that a traceback shows the README's own lines
    # like a cell of a notebook, which has a source and no file: nnsight reads that of a `backward` call
    name = f"<README.md, block {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    exec(compile(code, name, "exec"), names)
    assert names["sl"] is sl


def test_what_the_blocks_made_is_what_the_page_says(names):
    assert str(names["result"].receipt) in TEXT
    assert str(names["result"]).splitlines()[0].startswith("KL(base || edited): effect 0.6")
    assert names["words"] == [" Italy", " Europe"]
    answers = {name: names[name].edited.argmax(-1).tolist() for name in ("swapped", "patched")}
    decode = names["lm"].processor.decode
    assert {name: decode(ids) for name, ids in answers.items()} == {
        "swapped": " Saturday",
        "patched": " Rome",
    }
    assert Path("figures/patches.png").stat().st_size > 10_000


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_stands_on_a_line_of_its_own(command):
    assert command in TEXT.splitlines()


def table(title: str) -> str:
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_stream_and_every_family_is_in_its_table():
    assert {s for s in STREAMS if f"`{s}`" not in table("Names of sites")} == set()
    assert {f for f in sl.families.FAMILIES if f"`{f}`" not in table("Families")} == set()
    listed = set(re.findall(r"`(\w+)`", table("Families").split("`steerlab list`")[0]))
    assert listed <= set(sl.families.FAMILIES)


def test_every_edit_is_named():
    own = {name for name in EDITS if EDITS[name].__module__.startswith("steerlab.")}
    assert {name for name in own if f"`{name}`" not in TEXT} == set()
