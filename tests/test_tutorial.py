"""The tutorial, followed to the letter: its commands run in an empty folder, and print what it quotes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from captioner.scaffold import draft
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def steps() -> Iterator[tuple[str, str]]:
    """Yield what the page has one do, in order: a command and its output, or the name of a file and its content."""
    for language, block in BLOCKS:
        if language == "console":
            command, _, output = block.partition("\n")
            yield command.removeprefix("$ captioner "), output
        elif block.startswith("id: "):
            yield "label_schemas/gi_views.yaml", block
        elif language == "csv":
            yield "captions.csv", block


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Return the exit status of a command and all that it prints, as on a wide screen."""
    done = subprocess.run(
        [sys.executable, "-m", "captioner", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() not in ("", "…")]


def test_the_tutorial_does_what_it_says(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copyfile(real_data / "hyperkvasir" / "2_fold_split.csv", tmp_path / "data" / "2_fold_split.csv")
    done = 0
    for what, text in steps():
        if re.fullmatch(r"\S+\.(yaml|csv)", what):
            (tmp_path / what).write_text(text, encoding="utf-8")
            continue
        status, printed = run(tmp_path, *what.split())
        assert [line for line in lines(text) if line not in lines(printed)] == [], f"{what}\n{printed}"
        assert (status == 0) == ("error label_schemas" not in text), what
        done += 1
    assert done == 7
    table = (tmp_path / "data" / "2_fold_split.csv").read_text(encoding="utf-8").splitlines()
    assert [line for line in BLOCKS[0][1].splitlines() if line != "…"] == table[:2]


def test_the_draft_is_as_the_tutorial_quotes_it(real_data: Path) -> None:
    table = real_data / "hyperkvasir" / "2_fold_split.csv"
    drafted = draft(table, schema_id="gi_views", modality="endoscopy", anatomy="gi_tract")
    (quoted,) = [block for _, block in BLOCKS if block.startswith("classes:")]
    assert [line for line in quoted.splitlines() if line not in drafted] == []
    assert len(re.findall(r"^    concept: ", drafted, re.MULTILINE)) == 15
    assert drafted.count("# or, in its place") == 8
