"""``nas latency``: a latency table of your device: build it, hold it against whole networks, take in measurements."""

import importlib
import pkgutil

import click

from nas.errors import unknown

__all__ = ["command"]


class _Steps(click.Group):
    """Subcommands by file name: ``build.py`` is ``nas latency build``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [module.name for module in pkgutil.iter_modules(__path__)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in self.list_commands(ctx):
            raise unknown("step of nas latency", cmd_name, self.list_commands(ctx))
        made = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(made, click.Command)
        return made


@click.group(
    cls=_Steps,
    epilog="""\b
Examples:
  nas latency build --device my_cpu --space fbnet
  nas latency verify --device ./my_cpu.csv --space fbnet --correct""",
)
def command() -> None:
    """Make a latency table that can be trusted: build, verify, then search with --device ./NAME.csv."""
