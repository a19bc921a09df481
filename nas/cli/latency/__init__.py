"""``nas latency``: a latency table of your device, from its build to its audit."""

import importlib
import pkgutil

import click

from nas.errors import unknown
from nas.progress import Progress
from nas.units import duration

__all__ = ["command", "say"]


class _Steps(click.Group):
    """Subcommands by file name: ``build.py`` is ``nas latency build``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [module.name for module in pkgutil.iter_modules(__path__)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in self.list_commands(ctx):
            raise unknown("step of nas latency", cmd_name, self.list_commands(ctx))
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        step: click.Command = module.command
        return step


@click.group(
    cls=_Steps,
    epilog="""\b
Examples:
  nas latency build --device my_cpu --space fbnet
  nas latency verify --device ./my_cpu.csv --space fbnet --correct""",
)
def command() -> None:
    """Make a latency table: build, verify, then search with --device ./NAME.csv."""


def say(progress: Progress[object]) -> None:
    """Print where the work stands, on stderr."""
    left = "" if progress.eta_seconds is None else f", {duration(progress.eta_seconds)} left"
    gone = duration(progress.seconds)
    click.echo(f"{progress.what} {progress.done}/{progress.planned}  {gone} gone{left}", err=True)
