"""MkDocs hook: pages that are made, so that they cannot lag behind.

The page of all commands is made from their own help. How it is built, contributing and changes are
the files in the repository's root.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.structure.files import File, Files

from nas.cli import nas

COMMANDS = "reference/commands.md"
ROOT = Path(__file__).parents[2]
OF_THE_ROOT = {
    "project/architecture.md": "ARCHITECTURE.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changelog.md": "CHANGELOG.md",
}

# A block of code has attributes, or lines.
INLINE_CODE = re.compile(r"<code>([^<\n]*)</code>")
OPTION = re.compile(r"(?<!\S)--?[\w-]+")
WHOLE = r'<span class="whole">\g<0></span>'

INTRODUCTION = """# Commands

This page is made from the commands' own help. Every command prints it: `nas COMMAND --help`.
Results go to stdout, everything else to stderr. [Exit codes](shell.md) are few.
"""


def on_files(files: Files, config: object) -> Files:
    """Add the pages that are made to the site."""
    made = {COMMANDS: INTRODUCTION + "".join(pages())}
    for page, name in OF_THE_ROOT.items():
        # Its links start at the root, those of the page at a folder below docs/.
        made[page] = (ROOT / name).read_text().replace("](docs/", "](../")
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_content(html: str, **page: object) -> str:
    """Keep an option such as ``--epochs-factor`` on one line: browsers break it at its dashes."""
    return INLINE_CODE.sub(lambda found: f"<code>{OPTION.sub(WHOLE, found[1])}</code>", html)


def pages() -> Iterator[str]:
    """Markdown of each command, in the order of `nas --help`."""
    context = click.Context(nas, info_name="nas")
    for name in nas.list_commands(context):
        command = nas.get_command(context, name)
        inner = click.Context(command, info_name=name, parent=context)
        yield page(inner, depth=2)
        if isinstance(command, click.Group):
            for step in command.list_commands(inner):
                child = command.get_command(inner, step)
                yield page(click.Context(child, info_name=step, parent=inner), depth=3)


def page(context: click.Context, *, depth: int) -> str:
    """Heading, purpose, usage, examples and options of one command."""
    command = context.command
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [
        f"{'#' * depth} {context.command_path}",
        paragraphs(command.help),
        fenced(" ".join(usage.split())),
        examples(command.epilog),
        options(context),
    ]
    return "\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def paragraphs(text: str | None) -> str:
    """Help as prose; what stands behind click's no-wrap mark keeps its lines."""
    blocks = []
    for block in inspect.cleandoc(text or "").split("\n\n"):
        if block.startswith("\b"):
            blocks.append(fenced(block.removeprefix("\b").strip("\n")))
        else:
            blocks.append(plain(block.replace("\n", " ")))
    return "\n\n".join(blocks)


def examples(epilog: str | None) -> str:
    """The examples that stand below a command's help."""
    lines = inspect.cleandoc(epilog or "").removeprefix("\b").strip("\n").split("\n")
    if lines[0] == "Examples:":
        lines = lines[1:]
    text = inspect.cleandoc("\n".join(lines))
    return fenced(text) if text else ""


def options(context: click.Context) -> str:
    """A table of the options, as the help lists them."""
    rows = []
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        names, text = record
        rows.append(f"| `{names.replace('|', chr(92) + '|')}` | {plain(text)} |")
    if not rows:
        return ""
    return "\n".join(["| option | what it does |", "|---|---|", *rows])


def plain(text: str) -> str:
    """Text in which nothing is markup, so that it reads as the terminal shows it."""
    for mark in ("\\", "|", "*", "_", "<", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text


def fenced(text: str) -> str:
    """A block of shell."""
    return f"```sh\n{text}\n```"
