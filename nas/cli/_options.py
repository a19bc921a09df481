"""Options and output that several commands share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nas.run.run import newest

__all__ = ["groups_option", "json_option", "print_json", "run_argument", "seed_option"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """``--json``: one document on stdout, nothing else there."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(command)


def run_argument(command: F) -> F:
    """``RUN``: a run folder, by default the newest in ./runs."""
    return click.argument(
        "run",
        type=click.Path(path_type=Path),
        required=False,
        callback=lambda ctx, param, value: value or newest(),
    )(command)


def groups_option(command: F) -> F:
    """``--groups FILE``."""
    return click.option(
        "--groups",
        metavar="FILE",
        help="A group id per image, or filename,group: no split cuts a group.",
    )(command)


def seed_option(command: F) -> F:
    """``--seed``."""
    return click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Seed of everything random.",
    )(command)


def print_json(document: Any) -> None:
    """The document on stdout; NaN and infinity are a bug, not JSON."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))
