"""Stand-ins for methods: heard in any order of coming and going, and nothing left on the object."""

from __future__ import annotations

import inspect

import pytest

from steerlab import calls


class Bell:
    def ring(self, times: int, *more: int, loud: bool = False, **rest: object) -> str:
        """Ring some times."""
        if times < 0:
            raise ValueError("a bell rings forwards")
        return "ding" * times


def kept() -> tuple[list, dict]:
    given: list = []
    return given, {"before": lambda named: given.append(dict(named)), "after": given.append}


@pytest.fixture
def bell():
    made = Bell()
    yield made
    assert vars(made) == {}
    assert not calls._STANDINS


def test_arguments_come_by_name_and_the_result_after_them(bell):
    given, looks = kept()
    leave = calls.listen(bell, "ring", **looks)
    assert bell.ring(2, 3, 4, loud=True, colour="brass") == "dingding"
    leave()
    assert given == [{"times": 2, "more": (3, 4), "loud": True, "colour": "brass"}, "dingding"]
    assert bell.ring(1) == "ding"
    assert len(given) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)], ids=str)
def test_listeners_share_a_stand_in_and_leave_in_any_order(order, bell):
    heard: list[int] = []
    leaves = [calls.listen(bell, "ring", before=lambda _, i=i: heard.append(i)) for i in range(3)]
    assert len(calls._STANDINS) == 1
    here = [0, 1, 2]
    for one in order:
        heard.clear()
        bell.ring(1)
        assert heard == here
        leaves[one]()
        here.remove(one)
    heard.clear()
    assert bell.ring(1) == "ding"
    assert heard == []


def test_signature_name_and_documentation_are_those_of_the_method(bell):
    before = inspect.signature(bell.ring)
    leave = calls.listen(bell, "ring", before=lambda _: None)
    assert inspect.signature(bell.ring) == before
    assert (bell.ring.__name__, bell.ring.__doc__) == ("ring", "Ring some times.")
    leave()


def test_a_call_that_fails_is_heard_with_no_result(bell):
    given, looks = kept()
    leave = calls.listen(bell, "ring", **looks)
    with pytest.raises(ValueError, match="a bell rings forwards"):
        bell.ring(-1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'times'"):
        bell.ring()
    leave()
    assert [one for one in given if not isinstance(one, dict)] == [None, None]


def test_a_listener_that_fails_stops_the_call_and_leaves_well(bell):
    def refuse(named) -> None:
        raise KeyboardInterrupt

    leave = calls.listen(bell, "ring", before=refuse)
    with pytest.raises(KeyboardInterrupt):
        bell.ring(1)
    leave()
    assert bell.ring(1) == "ding"


def test_a_method_that_the_object_carries_is_kept():
    bell = Bell()
    bell.ring = own = lambda times: "dong" * times
    given, looks = kept()
    leave = calls.listen(bell, "ring", **looks)
    assert bell.ring(2) == "dongdong"
    leave()
    assert given == [{"times": 2}, "dongdong"]
    assert bell.ring is own


def test_what_the_user_put_in_between_survives():
    bell, heard = Bell(), []
    leave = calls.listen(bell, "ring", before=lambda _: heard.append(1))
    standin = bell.ring
    bell.ring = mine = lambda times: "[" + standin(times) + "]"
    assert bell.ring(1) == "[ding]"
    leave()
    assert bell.ring is mine
    assert bell.ring(1) == "[ding]"  # what it wraps still works, and nobody hears
    assert heard == [1]
    again = calls.listen(bell, "ring", before=lambda _: heard.append(2))
    bell.ring(1)
    again()
    assert bell.ring is mine
    assert heard == [1, 2]
    assert not calls._STANDINS


def test_who_comes_after_a_replacement_is_heard_while_the_first_still_listens():
    bell, heard = Bell(), []
    first = calls.listen(bell, "ring", before=lambda _: heard.append("first"))
    bell.ring = lambda times: "dong" * times
    second = calls.listen(bell, "ring", before=lambda _: heard.append("second"))
    assert bell.ring(1) == "dong"
    assert heard == ["second"]
    first()
    second()
    assert bell.ring(1) == "dong"
    assert not calls._STANDINS


def test_leaving_twice_is_leaving_once(bell):
    heard: list[str] = []
    first = calls.listen(bell, "ring", before=lambda _: heard.append("first"))
    second = calls.listen(bell, "ring", before=lambda _: heard.append("second"))
    first()
    first()
    bell.ring(1)
    second()
    assert heard == ["second"]


def test_a_listener_that_leaves_while_it_is_told_does_not_disturb_the_others(bell):
    heard: list[str] = []
    leaves: list = []

    def once(named) -> None:
        heard.append("once")
        leaves[0]()

    leaves.append(calls.listen(bell, "ring", before=once))
    leaves.append(calls.listen(bell, "ring", before=lambda _: heard.append("always")))
    bell.ring(1)
    bell.ring(1)
    leaves[1]()
    assert heard == ["once", "always", "always"]
