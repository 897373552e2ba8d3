"""Pages of Markdown as programs: their blocks, and a run of each of them in a process of its own."""

from __future__ import annotations

import json
import linecache
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: the title it stands under, its language, its text and the lines above the text."""

    title: str
    language: str
    text: str
    above: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order, each with the last `##` or `###` title before it."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        titles = re.findall(r"^##+ (.*)$", FENCE.sub("", text[: match.start()]), re.MULTILINE)
        above = text[: match.start(2)].count("\n")
        found.append(Block(titles[-1] if titles else "", match.group(1), match.group(2), above))
    return found


def run(page: Path, block: Block, names: dict | None = None) -> dict:
    """Run a block as a cell of a notebook would be; a traceback shows the page's own lines."""
    names = {} if names is None else names
    code = "\n" * block.above + block.text
    name = f"<{page.name}, {block.title}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # nnsight reads it
    exec(compile(code, name, "exec"), names)
    return names


def main(page: Path, titles: list[str], out: Path) -> None:
    """Run the blocks of Python under the titles; what each raised goes to the file, empty where nothing."""
    import steerlab as sl

    warnings.simplefilter("error", sl.SteerlabWarning)  # other packages warn as they like
    said = {}
    for block in blocks(page):
        if block.language == "python" and block.title in titles:
            try:
                run(page, block)
            except Exception:
                said[block.title] = traceback.format_exc()
            else:
                said[block.title] = ""
    out.write_text(json.dumps(said))


if __name__ == "__main__":
    # python pages.py PAGE OUT FOLDER TITLE...: the folder of extra packages comes after all others
    sys.path.append(sys.argv[3])
    main(Path(sys.argv[1]), sys.argv[4:], Path(sys.argv[2]))
