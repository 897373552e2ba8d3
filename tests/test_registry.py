"""One registry for all that can be added; a broken plug-in is listed and stops nobody."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

import steerlab as sl
from steerlab import registry
from steerlab.edits import EDITS
from steerlab.families import FAMILIES
from steerlab.registry import Registry


@pytest.fixture
def colours() -> Registry[int]:
    made: Registry[int] = Registry("colour", "steerlab.test_colours")
    made.add("red", 1)
    made.add("green", 2)
    return made


def plug_in(monkeypatch, *points: tuple[str, str]) -> list[str]:
    """Pretend that installed packages bring these entry points; returns the groups that were asked for."""
    asked: list[str] = []

    def entry_points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint(name, value, group) for name, value in points]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return asked


def test_things_are_found_by_name_in_the_order_of_registration(colours):
    assert colours["green"] == 2 and "red" in colours and "blue" not in colours
    assert list(colours) == ["red", "green"] and colours.values() == [1, 2] and len(colours) == 2


def test_an_unknown_name_is_helped(colours):
    with pytest.raises(
        sl.SteerlabError, match=r"no colour named 'gren'; did you mean 'green'\? \(known: green, red\)"
    ):
        colours["gren"]
    with pytest.raises(sl.SteerlabError, match="no colour named 'gren'"):
        colours.remove("gren")


def test_a_name_is_taken_once_unless_it_is_replaced_on_purpose(colours):
    assert colours.add("red", 1) == 1
    with pytest.raises(sl.SteerlabError, match="colour 'red' is registered already"):
        colours.add("red", 5)
    assert colours["red"] == 1
    colours.add("red", 5, replace=True)
    assert colours["red"] == 5


def test_a_removed_name_is_free_again(colours):
    colours.remove("red")
    assert "red" not in colours
    assert colours.add("red", 9) == 9


def test_plug_ins_are_read_once_on_first_use(colours, monkeypatch):
    asked = plug_in(monkeypatch, ("pi", "math:pi"))
    assert asked == []
    assert colours["pi"] == pytest.approx(3.14159, abs=1e-5)
    assert list(colours) == ["red", "green", "pi"]
    assert asked == ["steerlab.test_colours"]


def test_a_plug_in_that_fails_is_listed_and_the_others_load(colours, monkeypatch):
    plug_in(monkeypatch, ("bad", "no_such_package:x"), ("worse", "math:no_such_name"), ("pi", "math:pi"))
    assert "pi" in colours and "bad" not in colours and "worse" not in colours
    assert colours.faults.keys() == {"bad", "worse"}
    assert colours.faults["bad"].startswith("no_such_package:x: ModuleNotFoundError: No module named")
    assert colours.faults["worse"].startswith("math:no_such_name: AttributeError: ")


def test_a_plug_in_takes_no_name_from_what_is_built_in(colours, monkeypatch):
    plug_in(monkeypatch, ("red", "math:pi"))
    assert colours["red"] == 1


def test_a_class_of_edit_registers_itself_and_may_be_defined_twice():
    try:
        for _ in range(2):

            class Twice(sl.Edit):
                def __call__(self, x):
                    return 2 * x

        assert EDITS["Twice"] is Twice
    finally:
        EDITS.remove("Twice")


def test_every_edit_and_family_of_the_library_is_registered():
    assert {
        "Add",
        "Chain",
        "Clamp",
        "Fn",
        "Mask",
        "Mean",
        "Project",
        "Remove",
        "Replace",
        "Scale",
        "Zero",
    } <= set(EDITS)
    assert {"llama", "vit", "clip", "videomae", "sdxl", "plain"} <= set(FAMILIES)
