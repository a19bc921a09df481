"""Two halves of the tests: what works without torch, proved by refusing to import it, and the
rest."""

import functools
import os
import sys
import tempfile
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

TORCH_SIDE = (
    "cli_torch",
    "contracts/test_evaluators",
    "contracts/test_ops",
    "data",
    "evaluate",
    "export",
    "measure",
    "model",
    "processes",
    "strategies_torch",
    "supernet",
    "train",
)


def pytest_addoption(parser):
    parser.addoption(
        "--torch-free",
        action="store_true",
        help="only tests that need no torch; importing it fails",
    )
    parser.addoption("--torch-only", action="store_true", help="only the other tests")


class _NoTorch(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == "torch":
            raise ModuleNotFoundError(
                "torch is not to be imported by the torch-free side", name="torch"
            )


def pytest_configure(config):
    # Prepared images of tests go with the tests; workers of xdist share none.
    cache = tempfile.TemporaryDirectory(prefix="nas-tests-")
    config.add_cleanup(cache.cleanup)
    os.environ["NAS_CACHE"] = cache.name
    if config.getoption("--torch-free"):
        sys.meta_path.insert(0, _NoTorch())
    from search_spaces import mnasnet, mobile, uninet  # not before torch is refused

    # Spaces never change: the large ones are walked once a process.
    for module in (mnasnet, mobile, uninet):
        module.space = functools.cache(module.space)


@pytest.fixture
def command_line(capsys, monkeypatch):
    """Call as ``command_line(*arguments, code=0)``: stdout and stderr of ``nas ARGUMENTS``."""
    from nas.cli import main

    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        else:
            status = 0
        out, err = capsys.readouterr()
        assert status == code, err
        return out, err

    return call


def pytest_ignore_collect(collection_path, config):
    here = Path(__file__).parent
    if collection_path == here or (
        collection_path.is_dir()
        and collection_path.parent == here
        and collection_path.name == "contracts"
    ):
        return None
    name = collection_path.relative_to(here).with_suffix("").as_posix()
    torch_side = name.startswith(TORCH_SIDE)
    if config.getoption("--torch-free") and torch_side:
        return True
    if config.getoption("--torch-only") and not torch_side and collection_path.is_file():
        return True
    return None


def _folder(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name the folder of reference data")
    folder = Path(os.environ[variable])
    if not folder.is_dir():
        pytest.skip(f"{variable} names {folder}, which does not exist")
    return folder


@pytest.fixture(scope="session")
def nas_data() -> Path:
    """The folder of benchmark data that NAS_DATA names; skips where there is none."""
    return _folder("NAS_DATA")


@pytest.fixture(scope="session")
def nas_figures() -> Path:
    """The folder of published figures that NAS_FIGURES names; skips where there is none."""
    return _folder("NAS_FIGURES")
