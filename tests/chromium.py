"""A headless Chromium that measures a page and takes its picture."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# The headless shell alone makes windows as narrow as a phone.
NAMES = ("chromium-headless-shell", "headless_shell", "chrome-headless-shell")
PROBE = Path(__file__).with_name("probe.js")
DARK, LIGHT = "dark", "light"


@dataclass(frozen=True)
class Window:
    """How a page is looked at."""

    width: int
    height: int = 900
    scheme: str = LIGHT


def measured(page: Path, window: Window) -> dict[str, Any]:
    """What `probe.js` finds in a copy of the page."""
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    whole, found = policy.subn("", page.read_text(encoding="utf-8"))
    assert found == 1  # the page itself allows no script
    copy = page.with_name("probed.html")
    script = f"<script>{PROBE.read_text(encoding='utf-8')}</script>"
    copy.write_text(whole.replace("</body>", f"{script}</body>"), encoding="utf-8")
    dumped = _run(copy, window, "--dump-dom")
    result = re.search(r'<pre id="probe">(.*?)</pre>', dumped, re.S)
    assert result, dumped[-2000:]
    return json.loads(html.unescape(result[1]))


def picture(page: Path, window: Window) -> np.ndarray:
    """The page as it is seen, ``[height, width, colour]``."""
    file = page.with_name(f"{window.width}-{window.scheme}.png")
    _run(page, window, f"--screenshot={file}")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _run(page: Path, window: Window, what: str) -> str:
    program = next((path for path in map(shutil.which, NAMES) if path), None)
    assert program, "these tests need a browser: apt-get install chromium-headless-shell"
    command = [
        *(program, "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={page.parent / 'profile'}"),
        f"--window-size={window.width},{window.height}",
        f"--blink-settings=preferredColorScheme={0 if window.scheme == DARK else 1}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # which Chromium demands of root
        *(what, page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
