"""How much of a table is not in a run's shards is the last thing that the run says, with the place where it is listed."""

import sys

import pytest

from captioner.cli import main
from captioner.demo import make_dataset

WITHOUT_LABEL = "2 of 22 rows have no usable label: each with its reason in out/rejected_rows.csv (exit code 0)"
WITHOUT_IMAGE = "2 rows have a label but no usable image: each with its reason in out/rejected_rows.csv (exit code 1;"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the demo's dataset; return the exit code and the lines printed."""
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data")

    def call(*settings):
        more = [word for setting in settings for word in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", ["captioner", "run", "demo", "--data", "data", "--out", "out", *more])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().out.splitlines()

    return call


def test_rows_of_unknown_labels_are_the_last_word_of_a_run_that_ends_well(run):
    code, lines = run()
    assert (code, lines[-1]) == (0, WITHOUT_LABEL)


def test_so_they_are_without_images(run):
    code, lines = run("data.images=none")
    assert (code, lines[-1]) == (0, WITHOUT_LABEL)


def test_rows_without_an_image_come_last_because_they_make_the_exit_code_1(run):
    code, lines = run("data.missing=report")
    assert code == 1
    assert lines[-2] == WITHOUT_LABEL
    assert lines[-1].startswith(WITHOUT_IMAGE)


def test_of_a_table_that_is_read_whole_nothing_is_said(run, tmp_path):
    table = tmp_path / "data" / "labels.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-2]))
    _, lines = run()
    assert not any("no usable" in line for line in lines)


def test_a_row_that_stands_twice_is_not_missed(run, tmp_path):
    table = tmp_path / "data" / "labels.csv"
    lines = table.read_text().splitlines(keepends=True)[:-2]
    table.write_text("".join([*lines, lines[1]]))
    _, lines = run()
    assert any("1 duplicate_row" in line for line in lines)
    assert not any("no usable" in line for line in lines)
