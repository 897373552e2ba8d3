"""A training that was stopped, or killed, ends with exactly the dictionary of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from steerlab.bases.dictionary import Dictionary
from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit, fit_dictionary

SETTINGS = Fitting(k=2, steps=60, batch=32, lr=1e-2, dead_after=1)
FILE = "training.safetensors"


def rows() -> torch.Tensor:
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(0))


def numbers(sae: Dictionary) -> list[torch.Tensor]:
    encoder = [sae.encoder.weight, sae.encoder.bias] if sae.encoder.inputs() else []
    return [sae.decoder, sae.bias, *encoder]


def same(one: Dictionary, two: Dictionary) -> bool:
    return all(torch.equal(a, b) for a, b in zip(numbers(one), numbers(two), strict=True))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "_SAVE_EVERY", 7)


class Stopped(Exception):
    pass


def breaking(stream: list[torch.Tensor], passes: int) -> Callable[[], Iterator[torch.Tensor]]:
    """A stream that can be read so many times, and breaks off in the middle of the next."""
    begun = []

    def batches() -> Iterator[torch.Tensor]:
        begun.append(1)
        for number, batch in enumerate(stream):
            if len(begun) > passes and number > 3:
                raise Stopped
            yield batch

    return batches


@pytest.mark.parametrize("kind", ["topk", "aligned"])
def test_a_training_that_breaks_off_goes_on_to_the_same_dictionary(tmp_path, kind):
    data = rows().view(-1, 2, 6) if kind == "aligned" else rows()
    stream = [*data.split(20)]
    whole = fit_dictionary(stream, 40, kind=kind, settings=SETTINGS)

    with pytest.raises(Stopped):
        # one pass is for the scale; three make 37 steps of the 60, of which 35 are on disk
        broken = breaking(stream, 4)
        fit_dictionary(broken, 40, kind=kind, settings=SETTINGS, folder=tmp_path)
    left = load_file(tmp_path / FILE)["weights.decoder"]
    assert not torch.equal(left, whole.decoder)
    again = fit_dictionary(stream, 40, kind=kind, settings=SETTINGS, folder=tmp_path)
    assert same(again, whole)
    assert torch.equal(load_file(tmp_path / FILE)["weights.decoder"], whole.decoder)


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    first = fit_dictionary(rows(), 40, settings=SETTINGS, folder=tmp_path)
    monkeypatch.setattr(fit.State, "step", None)  # any step would fail
    assert same(fit_dictionary(rows(), 40, settings=SETTINGS, folder=tmp_path), first)


SCRIPT = """
import sys, time, torch
from steerlab.fitting import Fitting, fit_dictionary, fit
fit._SAVE_EVERY = 7
torch.set_num_threads(1)
x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
def slow():
    for batch in x.split(20):
        time.sleep(0.01)
        yield batch
fit_dictionary(slow, 40, settings=Fitting(k=2, steps=60, batch=32, lr=1e-2, dead_after=1), folder=sys.argv[1])
"""


def test_a_killed_process_leaves_a_training_that_goes_on(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], env={**os.environ})
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / FILE).exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    stream = [*rows().split(20)]
    resumed = fit_dictionary(stream, 40, settings=SETTINGS, folder=tmp_path)
    assert same(resumed, fit_dictionary(stream, 40, settings=SETTINGS))


def test_a_half_written_state_is_never_taken_for_one(tmp_path):
    (tmp_path / (FILE + ".new")).write_bytes(b"half")
    assert same(
        fit_dictionary(rows(), 40, settings=SETTINGS, folder=tmp_path),
        fit_dictionary(rows(), 40, settings=SETTINGS),
    )


def test_another_training_is_refused_with_what_differs(tmp_path):
    fit_dictionary(rows(), 40, settings=SETTINGS, folder=tmp_path)
    with pytest.raises(SteerlabError, match=r"another training \(lr 0.01 there, 0.02 here\)"):
        fit_dictionary(rows(), 40, settings=replace(SETTINGS, lr=0.02), folder=tmp_path)
    with pytest.raises(SteerlabError, match=r"another training \(scale .* there"):
        fit_dictionary(2 * rows(), 40, settings=SETTINGS, folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0" + b"{}" * 8, None])
def test_a_file_that_is_no_training_is_refused(tmp_path, content):
    if content is None:
        save_file({"x": torch.zeros(1)}, tmp_path / FILE)
    else:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SteerlabError, match="no training to go on from"):
        fit_dictionary(rows(), 40, settings=SETTINGS, folder=tmp_path)
