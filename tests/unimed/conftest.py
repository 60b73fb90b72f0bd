"""What the tests of UniMed's outputs share."""

import csv
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.unimed import OUTPUTS, Built, build, from_files
from tests.unimed.made import make_data


@pytest.fixture(scope="session")
def whole_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A $DATA with all thirteen; tests do not change it."""
    return make_data(tmp_path_factory.mktemp("DATA"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A $DATA of the test's own."""
    return make_data(tmp_path / "DATA")


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., Built]:
    """Build one output of a $DATA into ``tmp_path/out``."""

    def make(data: Path, name: str, **settings: int) -> Built:
        return build(OUTPUTS[name], from_files(data, OUTPUTS[name]), tmp_path / "out", **settings)

    return make


@pytest.fixture
def captioner(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit code and what it printed."""
    from captioner.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["captioner", "unimed", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return end.value.code or 0, printed.out, printed.err

    return call


def tars(folder: Path) -> dict[str, bytes]:
    """The bytes of every tar in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def texts(folder: Path) -> list[str]:
    """The texts of all samples, in order."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found += [archive.extractfile(m).read().decode() for m in archive if m.name.endswith(".txt")]
    return found


def rejected(folder: Path) -> list[dict[str, str]]:
    """The rows that were left out."""
    with (folder / "rejected_rows.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
