"""The command line: one subcommand per file of this folder, loaded when it is called.

A file's name is the command's name; the first line of its docstring is what ``nas --help`` shows,
read without importing it, so that help is instant.
"""

import ast
import errno
import importlib
import pkgutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from nas.cli._streams import hide_output, secure
from nas.errors import InterruptError, NasError, unknown

__all__ = ["main"]

USERS_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.ENOENT,
    errno.ENAMETOOLONG,
)
"""Of the system, those that a user can mend; any other is a fault of ours and keeps its trace."""


class _Commands(click.Group):
    """Subcommands by file name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        modules = [module.name for module in pkgutil.iter_modules(__path__)]
        return [name for name in modules if not name.startswith("_")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in self.list_commands(ctx):
            raise unknown("command", cmd_name, self.list_commands(ctx))
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _purpose(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _purpose(name: str) -> str:
    """The first line of a command's docstring, read without importing the command."""
    spec = find_spec(f"{__name__}.{name}")
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return text.partition("\n")[0].removeprefix(f"``nas {name}``: ")


@click.group(
    cls=_Commands,
    epilog="Start with: nas search --space fbnet --device pixel",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="nas-toolkit")
def nas() -> None:
    """Find the best network for your data, your device and your latency budget."""


def main() -> None:
    """Run the command line; an error that a user can cause is one line on stderr.

    Exit codes: 1 for an expected failure, 2 for usage, 130 for an interruption.
    """
    secure()
    try:
        # Click by itself would exit here, and knows of none of the errors below.
        nas(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InterruptError as error:
        _end_interrupted(str(error))
    except NasError as error:
        click.echo(f"nas: error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end_interrupted("interrupted")
    except BrokenPipeError:
        # `nas front RUN | head` has read enough.
        hide_output()
        sys.exit(0)
    except OSError as error:
        if error.errno not in USERS_ERRORS:
            raise
        # An error of writing knows no file, one of opening does.
        place = "cannot write" if error.filename is None else error.filename
        click.echo(f"nas: error: {place}: {error.strerror}", err=True)
        sys.exit(1)


def _end_interrupted(text: str) -> NoReturn:
    click.echo(f"nas: {text}", err=True)
    # Interrupted inside an `exec`, as where an import makes dataclasses, `python -m` ends as if
    # killed by the signal, whatever exit code it is given. A second `exec` undoes that.
    exec("")
    sys.exit(InterruptError.exit_code)
