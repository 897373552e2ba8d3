"""Packages as they are installed: each writes its fixtures again, and what it writes is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dictionary_fixtures import cases, check, name_of

# script -> the folders it writes; dictionary_learning cannot be installed beside nnsight 0.8
WRITES = {
    "write_overcomplete.py": ("overcomplete", "universal"),
    "write_saelens.py": ("saelens",),
    "write_sparsify.py": ("sparsify",),
}
QUIET = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "SPARSIFY_DISABLE_TRITON": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize("script", WRITES)
def test_what_an_installed_package_writes_is_read_as_it_reads_it(script, tmp_path):
    command = [sys.executable, str(Path(__file__).parent / script), str(tmp_path)]
    run = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    committed = {name_of(case) for case in cases() if case.parent.name in WRITES[script]}
    written = cases(tmp_path)
    assert {name_of(case) for case in written} == committed
    for case in written:
        check(case)
