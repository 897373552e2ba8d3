"""Stamps: the versions that ran, the kind of machine, and no word of whose it is."""

from __future__ import annotations

import datetime
import json
import platform
import socket
from importlib import metadata
from pathlib import Path

import diffusers
import pytest
import torch
import transformers

import steerlab as sl
from steerlab import stamps
from steerlab.errors import SteerlabError
from steerlab.stamps import Stamp, without_places


def test_a_stamp_tells_what_ran_and_survives_json():
    stamp = Stamp.now(3, "steerlab run x.toml")
    assert stamp.versions == {
        "python": platform.python_version(),
        "steerlab": sl.__version__,
        "torch": torch.__version__.partition("+")[0],
        "transformers": transformers.__version__,
        "diffusers": diffusers.__version__,
    }
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(stamp.started)
    assert datetime.timedelta(0) <= age < datetime.timedelta(seconds=5)
    written = json.dumps(stamp.plain(), allow_nan=False)
    assert Stamp.read(json.loads(written), "x") == stamp
    assert socket.gethostname() not in written and stamp.platform["threads"] == str(torch.get_num_threads())


def test_what_is_not_installed_is_said(monkeypatch):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(stamps.metadata, "version", missing)
    assert stamps.versions()["diffusers"] == "not installed"


def test_a_wrong_status_is_helped():
    with pytest.raises(SteerlabError, match="status='fail'; did you mean 'failed'"):
        Stamp("fail", "")


@pytest.mark.parametrize("home, cwd", [("/home/anna", "/home/anna/work"), ("/", "/"), ("/root", "/srv/x")])
def test_places_of_this_machine_are_left_out(home, cwd, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    monkeypatch.setattr(Path, "cwd", lambda: Path(cwd))
    message = f"{cwd}/a.toml, {home}/b.toml, /usr/c.toml"
    told = message if home == "/" else "./a.toml, ~/b.toml, /usr/c.toml"
    assert without_places(message) == told
