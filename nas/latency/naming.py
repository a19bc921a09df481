"""Where a new table may be written, and what it may be called."""

from pathlib import Path

from nas.errors import ExistsError, UsageError

__all__ = ["check_free", "check_name"]


def check_name(name: str) -> None:
    """Raise `UsageError` unless a table can be called so."""
    if not name.isidentifier():
        raise UsageError(f"a table's name is letters, digits and _, not '{name[:80]}'")


def check_free(name: str, folder: Path) -> None:
    """Raise `ExistsError` if the folder has a table of that name."""
    if (folder / f"{name}.csv").exists():
        raise ExistsError(
            f"{folder / name}.csv exists: choose another --device or --out, "
            "or overwrite it with --force"
        )
