"""Calls that name the wrong thing are answered with what is wrong and what to give instead; help fits a narrow terminal."""

import sys

import pytest
import typer

from captioner.cli import app, main


@pytest.fixture
def captioner(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its exit code and all that it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["captioner", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out + printed.err

    return call


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("shards export csv nowhere --out x.csv", "nowhere: no such folder. Give an output folder."),
        ("shards export csv . --out x.csv", "no caption shards of any run in this folder"),
        ("shards captions nowhere", "nowhere: no such folder. Give a run's folder, OUT/runs/RUN."),
        ("run labels.csv --data .", "To describe a label table: captioner schema new labels.csv"),
        ("plan labels.csv --data .", "To describe a label table: captioner schema new labels.csv"),
    ],
)
def test_a_call_that_names_the_wrong_thing_says_what_to_give(captioner, tmp_path, call, says):
    (tmp_path / "labels.csv").write_text("image,labels\na.png,Mass\n")
    code, printed = captioner(*call.split())
    assert code == 2
    assert says in printed
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


def commands(group, *before):
    for name, command in group.commands.items():
        yield from commands(command, *before, name) if hasattr(command, "commands") else [(*before, name)]


@pytest.mark.parametrize("command", sorted(commands(typer.main.get_command(app))), ids=" ".join)
def test_in_80_columns_help_cuts_off_nothing_and_has_an_example(captioner, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    _, printed = captioner(*command, "--help")
    assert "…" not in printed.replace(" …", "")
    assert ": captioner" in printed
    assert max(map(len, printed.splitlines())) <= 80
