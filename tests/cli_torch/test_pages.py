"""The commands that pages show exist, with their options."""

import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest

from nas import cli

HOME = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(HOME).as_posix() for path in (HOME / "docs").rglob("*.md"))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
INDENTED = re.compile(r"^ {4}(.*)$", re.M)
INLINE = re.compile(r"`([^`\n]+)`")


def commands_of(page):
    """Every ``nas ...`` that a page shows, as words; continued lines are one."""
    text = (HOME / page).read_text()
    shown = [body for kind, body in FENCE.findall(text) if kind in ("sh", "")]
    prose = FENCE.sub("", text)
    shown += INDENTED.findall(prose) + INLINE.findall(prose)
    for line in "\n".join(shown).replace("\\\n", " ").split("\n"):
        for part in re.split(r"&&|;|\|(?!\w)", line.partition("  #")[0]):
            words = re.sub(r"^(\w+=\S+ )*", "", part.strip())
            if words.startswith("nas "):
                yield shlex.split(words, comments=True)


@cache
def command_of(path):
    """The click command that words such as ``("latency", "build")`` name."""
    command, depth = cli.nas, 0
    while isinstance(command, click.Group) and depth < len(path):
        context = click.Context(command)
        command = command.get_command(context, path[depth])
        depth += 1
    return command


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_commands_and_options_exist(page):
    for words in commands_of(page):
        path = tuple(word for word in words[1:3] if re.fullmatch(r"[a-z]+", word))
        if not path:
            continue
        command = command_of(path)
        known = {"--help", "-h", "--version"}
        for parameter in command.params:
            known.update(parameter.opts, parameter.secondary_opts)
        given = [word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)]
        unknown = [option for option in given if option not in known]
        assert not unknown, f"{page}: {' '.join(words)} has {unknown}"
