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

import click

from nas.errors import NasError, unknown

__all__ = ["main"]


class _Commands(click.Group):
    """Subcommands by file name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [
            found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in self.list_commands(ctx):
            raise unknown("command", cmd_name, self.list_commands(ctx))
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            spec = find_spec(f"{__name__}.{name}")
            assert spec is not None
            assert spec.origin is not None
            text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
            rows.append((name, text.partition("\n")[0].removeprefix(f"``nas {name}``: ")))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=_Commands,
    epilog="Start with: nas search --space fbnet --device pixel",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="nas-toolkit")
def nas() -> None:
    """Find the best network for your data, your device and your latency budget."""


def main() -> None:
    """Run the command line: errors a user can cause are one line on stderr; exit 1 expected, 2 usage."""
    try:
        nas(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except NasError as error:
        click.echo(f"nas: error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("nas: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EDQUOT):
            raise
        click.echo(f"nas: error: {error.strerror}: {error.filename or 'disk'}", err=True)
        sys.exit(1)
