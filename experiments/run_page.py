"""Run a page of the documentation as it is written, in an empty folder.

    python experiments/run_page.py docs/your_op.md --out /tmp/page

A block with a title is a file: it is written. A block of ``sh`` is run, and the run ends where a
command fails. All else, such as the output that a page shows, is left alone.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

BLOCK = re.compile(
    r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S
)


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Kind, title (may be empty) and text of each fenced block, in order."""
    for match in BLOCK.finditer(page):
        yield match["kind"], match["title"] or "", match["text"]


def run(page: Path, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Write the page's files into ``folder`` and run its commands there.

    Raises `subprocess.CalledProcessError` where a command fails.
    """
    variables = {**os.environ, **(environment or {})}
    # `python` and `nas` of the page are those of this interpreter.
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    for kind, title, text in blocks(page.read_text()):
        if title:
            file = folder / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif kind == "sh":
            shell = ["bash", "-euo", "pipefail", "-c", text]
            subprocess.run(shell, cwd=folder, env=variables, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder to run it in")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if any(arguments.out.iterdir()):
        raise SystemExit(f"{arguments.out} is not empty: a page is run from an empty folder")
    run(arguments.page, arguments.out)


if __name__ == "__main__":
    main()
