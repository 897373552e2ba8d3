"""Findings drawn: places are in proportion to the numbers, and the words say what the numbers say."""

from __future__ import annotations

import re

import pytest

from steerlab.page.strips import finding, legend, strip, verdict
from steerlab.report import Evidence

INF, NAN = float("inf"), float("nan")


def places(html: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for kind, left in re.findall(r'<i class="(\w+)" style="left:([\d.]+)%', html):
        found.setdefault(kind, []).append(float(left))
    return found


@pytest.mark.parametrize("effect, controls, floor", [(0.9, (0.1, 0.3), 0.05), (-2.0, (0.5, -0.5), -0.1)])
def test_places_are_in_proportion(effect, controls, floor):
    html = strip(Evidence("c", "intervened", effect, controls, floor))
    at = places(html)
    (zero,) = at["zero"]
    (drawn,) = at["effect"]
    unit = (drawn - zero) / effect  # per cent of the line for 1
    assert unit > 0 and max(sum(at.values(), [])) == pytest.approx(97) and min(sum(at.values(), [])) == 3
    assert [left - zero for left in at["control"]] == pytest.approx([c * unit for c in controls], abs=0.02)
    assert at["floor"][0] - zero == pytest.approx(floor * unit, abs=0.02)
    width = float(re.search(r"width:([\d.]+)%", html)[1])
    assert width == pytest.approx(abs(effect) * unit, abs=0.02) and at["bar"] == [min(zero, drawn)]


@pytest.mark.parametrize(
    "effect, controls, floor, says",
    [
        (0.9, (0.1, 0.3), 0.05, "outside the range of 2 matched controls and above the noise floor"),
        (0.2, (0.1, 0.3), 0.5, "inside the range of 2 matched controls and within the noise floor"),
        (-0.9, (0.1, -0.3), None, "outside the range of 2 matched controls"),
        (0.3, (0.1, 0.3), None, "inside the range of 2 matched controls"),
        (0.9, (0.1,), None, "outside the range of 1 matched control"),
        (-0.2, (), 0.1, "above the noise floor"),
        (0.9, (), None, "no controls and no noise floor were measured"),
        (0.9, (NAN, INF), None, "none of its controls is a finite number"),
        (NAN, (0.1,), 0.1, "no finite number"),
        (INF, (0.1,), 0.1, "no finite number"),
        (0.9, (), NAN, "within the noise floor"),  # what is not known is never called above
    ],
)
def test_the_verdict_is_what_the_numbers_say(effect, controls, floor, says):
    one = Evidence("c", "intervened", effect, controls, floor)
    assert verdict(one) == says and says in finding(one)


def test_the_numbers_are_all_there():
    words = re.sub(
        r"<[^>]+>", " ", legend(Evidence("c", "intervened", -0.5, (0.25, NAN, 0.75), 1e-7, "nats"))
    )
    told = "effect −0.5 nats controls 0.5, mean of 2 (0.25 to 0.75), 1 not finite noise floor 1e-07"
    assert words.split() == told.split()
    assert "2 of 2 not finite" in legend(Evidence("c", "observed", 1, (NAN, INF)))
    assert ">0.25<" in legend(Evidence("c", "observed", 1, (0.25,)))


@pytest.mark.parametrize("effect, controls", [(0.0, (0.0, 0.0)), (NAN, ()), (1e308, (-1e308,))])
def test_where_nothing_can_be_drawn_there_is_no_line(effect, controls):
    one = Evidence("c", "intervened", effect, controls, 0.0)
    assert strip(one) == "" and "numbers" in finding(one)


def test_many_controls_are_counted_and_not_all_drawn():
    one = Evidence("c", "intervened", 2.0, tuple(i / 5000 for i in range(5000)))
    assert len(places(strip(one))["control"]) == 200 and "mean of 5000 (0 to 0.9998)" in legend(one)
