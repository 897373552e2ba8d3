"""Overcomplete as it is installed: its script of fixtures is run again, and what it writes is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dictionary_fixtures import cases, check, name_of


def test_what_the_installed_overcomplete_writes_is_read_as_it_reads_it(tmp_path):
    script = Path(__file__).parent / "write_overcomplete.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, str(script), str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    committed = {name_of(case) for case in cases() if case.parent.name in ("overcomplete", "universal")}
    written = cases(tmp_path)
    assert {name_of(case) for case in written} == committed
    for case in written:
        check(case)
