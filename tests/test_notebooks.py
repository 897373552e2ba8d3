"""The notebooks: each runs from a clean kernel, draws figures with titles and finds what it says it finds."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

REPO = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (REPO / "notebooks").glob("*.ipynb"))
INDEX = (REPO / "notebooks" / "README.md").read_text(encoding="utf-8")
# Run before and after a notebook's own cells: the words over every figure, at the moment it is drawn.
BEFORE = """
def _watched():
    from matplotlib.backend_bases import FigureCanvasBase as Canvas
    draw, titles = Canvas.print_figure, []

    def print_figure(self, *args, **settings):
        sides = ("left", "center", "right")
        over = [axes.get_title(loc=side) for axes in self.figure.axes for side in sides]
        titles.append([text for text in (self.figure.get_suptitle(), *over) if text.strip()])
        return draw(self, *args, **settings)

    Canvas.print_figure = print_figure
    return titles

_titles = _watched()
"""
AFTER = "import json; print(json.dumps(_titles))"


def committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(REPO / "notebooks" / f"{name}.ipynb", as_version=4)


def code(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Notebooks by name after their run, each run once, in a temporary folder beside the recipes."""
    folder = tmp_path_factory.mktemp("nb")
    (folder / "notebooks").mkdir()
    shutil.copytree(REPO / "recipes", folder / "recipes")
    done = {}
    paths = os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])])
    here = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "IPYTHONDIR": str(folder)}

    def run(name: str) -> nbformat.NotebookNode:
        if name not in done:
            book = committed(name)
            book.cells = [new_code_cell(BEFORE), *book.cells, new_code_cell(AFTER)]
            settings = {"metadata": {"path": folder / "notebooks"}}
            client = NotebookClient(book, timeout=120, kernel_name="python3", resources=settings)
            done[name] = client.execute(env=os.environ | here)
        return done[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        yield run


def said(book: nbformat.NotebookNode) -> str:
    """Everything that the notebook's own cells printed."""
    streams = [out for cell in code(book)[1:-1] for out in cell.outputs if out.output_type == "stream"]
    return "".join(out.text for out in streams if out.name == "stdout")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_committed_without_outputs_and_for_any_kernel(name):
    book = committed(name)
    assert (book.nbformat, book.nbformat_minor) == (4, 5) and book.metadata.kernelspec.name == "python3"
    assert [cell.id for cell in code(book) if cell.outputs or cell.execution_count is not None] == []
    ids = [cell.id for cell in book.cells]
    assert len(set(ids)) == len(ids) and 6 <= len(ids) <= 12
    nbformat.validate(book)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_a_clean_kernel_and_every_figure_has_a_title(executed, name):
    book = executed(name)
    cells = code(book)
    outputs = [out for cell in cells for out in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [out for out in outputs if out.output_type == "error"] == []
    titles = json.loads(cells[-1].outputs[0].text)
    assert len(titles) == sum("image/png" in out.get("data", {}) for out in outputs) >= 1
    assert all(titles), titles


def evidence(text: str) -> list[tuple[float, float]]:
    """Each finding of a report and the largest of its controls."""
    found = re.findall(r"^\[intervened\] .*: (\S+) [^(]*\(controls \S+ to (\S+),", text, re.MULTILINE)
    return [(float(effect), float(most)) for effect, most in found]


@pytest.mark.parametrize("name", ["01_hook_a_vit"])
def test_the_vit_is_left_as_it_was_and_the_atom_matters_more_than_random_changes(executed, name):
    text = said(executed(name))
    assert "changed while it was on: True\nleft as it was: True" in text
    receipt = next(line for line in text.splitlines() if line.startswith("blocks.3.mlp"))
    assert "fired 1, rows 1, tokens 16, |Δ|/|x| 1," in receipt  # two rows of eight patches
    _, (without, random) = evidence(text)
    assert without > random > 0


@pytest.mark.parametrize("name", ["02_ablate_heads_and_atoms"])
def test_one_head_and_one_atom_hold_up_the_word(executed, name):
    text = said(executed(name))
    assert "silencing blocks.23.heads.4, the strongest on these inputs: 0.618" in text
    assert "[' Italy', ' Europe']" in text and "stands out: True" in text
    falls = dict(re.findall(r"^(\d+)\s+(-?[\d.]+)$", text, re.MULTILINE))
    assert max(falls, key=lambda name: float(falls[name])) == "541" and float(falls["541"]) > 2
    assert "held up most by atom 541" in text


@pytest.mark.parametrize("name", ["03_steer_an_llm"])
def test_the_vector_moves_endings_further_than_random_directions(executed, name):
    text = said(executed(name))
    (effect, random), _ = evidence(text)
    assert effect > 3 * random and "excitement" in text.split("steered:")[1]
    receipts = [line for line in text.splitlines() if line.startswith("blocks.14.resid ")]
    assert len(receipts) == 2 and all("|Δ|/|x| 0.2" in line for line in receipts)


@pytest.mark.parametrize("name", ["04_edit_sdxl"])
def test_without_its_atom_red_is_drawn_no_more(executed, name):
    text = said(executed(name))
    (changed, random), *_ = evidence(text)
    assert changed > 0.5 and random == 0
    assert "fired 12, steps 0-11, cond" in text
    left, right = re.search(r"change on the left (\S+), on the right (\S+) of 255", text).groups()
    assert float(right) > 1.5 * float(left)


@pytest.mark.parametrize("name", ["05_write_an_analyzer"])
def test_the_new_analyzer_measures_every_block_and_is_a_recipe(executed, name):
    text = said(executed(name))
    (effect, _), *_ = evidence(text)
    assert effect > 0 and "the same table: True" in text and "reads back the same: True" in text
    assert 'kind = "SilentBlock"\nstream = "attn"' in text


@pytest.mark.parametrize("name", ["07_bfd"])
def test_position_is_worth_more_than_random_changes_and_a_mode_is_removed_exactly(executed, name):
    text = said(executed(name))
    (both, random), (mode, least) = evidence(text)
    assert both > 3 * random > 0 and mode > least
    lost, off = re.search(r"largest score lost (\S+), off its term by at most (\S+)", text).groups()
    assert float(lost) > 1 and float(off) < 1e-4
    assert re.search(r"block 2, both without position: 0\.[3-9]", text)


@pytest.mark.parametrize("name", ["06_sinks"])
def test_text_is_lost_without_its_first_key_and_sinks_hand_something_out(executed, name):
    text = said(executed(name))
    base, first, fifth = (
        float(re.search(rf"{line}: ([\d.]+)", text)[1])
        for line in ("perplexity of what follows", "without the first key", "without the fifth key")
    )
    assert first > 3 * base and fifth < 1.2 * base
    zeroed, random = re.search(
        r"no value at the sink .*: (\S+) relative .*\(controls (\S+) to", text
    ).groups()
    assert float(zeroed) > 10 * float(random)


@pytest.mark.parametrize("name", ["08_raptor"])
def test_two_shared_blocks_follow_the_path_and_the_order_is_given_back(executed, name):
    text = said(executed(name))
    assert "left as it was: True" in text and "block 2 once more: cosine 0.9" in text
    followed = re.findall(r"followed (\S+), standing still (\S+)", text)
    assert len(followed) == 3 and all(float(own) > float(still) + 0.2 for own, still in followed)


@pytest.mark.parametrize("name", ["09_manifold_steering"])
def test_the_days_lie_on_a_ring_and_each_of_them_is_said(executed, name):
    text = said(executed(name))
    found = re.search(r"along the manifold \(control: .*: (\S+) of .*controls (\S+) to", text)
    assert float(found[1]) > 0.8 > 2 * float(found[2])
    along, straight = re.search(r"distances along both curves .*: (\S+) \(controls (\S+) to", text).groups()
    assert float(along) > 0.95 > float(straight)
    assert "say Friday: ' Friday'\nsay Sunday: ' Sunday'" in text and "as it is: ' Wednesday'" in text


def test_the_index_names_every_notebook():
    assert re.findall(r"\((\w+)\.ipynb\)", INDEX) == NAMES
