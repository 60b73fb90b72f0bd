"""Audits from the command line: what is printed, which files are left, which exit code a program sees."""

import csv
import json
import sys

import pytest

from captioner.cli import main
from tests.audit.makers import GOOD, ROWS, jsonl, table
from tests.audit.runs import make_runs


@pytest.fixture
def captioner(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["captioner", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return call


@pytest.mark.parametrize("command", ["audit", "compare", "review", "diff"])
def test_every_command_has_an_example(captioner, command):
    code, out, _ = captioner(command, "--help")
    assert code == 0
    assert f"captioner {command}" in out


def test_an_audit_prints_its_finding_and_leaves_a_report(captioner, tmp_path):
    rows = [*ROWS, {"labels": ["Goiter"], "caption": GOOD}]
    code, out, _ = captioner("audit", jsonl(tmp_path / "mine.jsonl", rows), "--schema", "chestxray14")
    assert code == 0
    assert "3 of 6 captions agree with their labels: 50.0 % (95 % interval 18.8 % to 81.2 %)." in out
    assert "not audited: 1 unknown label: " in out
    assert (tmp_path / "audit-mine" / "index.html").is_file()


def test_every_caption_that_disagrees_can_be_had_as_a_row(captioner, tmp_path):
    rows = [*ROWS, {"labels": ["Effusion"], "caption": '=cmd "x"'}]
    arguments = ("audit", jsonl(tmp_path / "a.jsonl", rows), "--schema", "chestxray14", "--out", tmp_path / "out")
    code, out, _ = captioner(*arguments, "--disagreements", tmp_path / "d.csv")
    assert code == 0
    assert "all captions that disagree: " in out
    with (tmp_path / "d.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    cells = [(r["place"], r["unasserted"], r["asserted"], r["codes"], r["words"]) for r in found]
    assert cells[:3] == [
        ("row 2", "Effusion", "", "negated_label", "pleural effusion"),
        ("row 3", "", "Nodule", "extra_label", "lung nodule"),
        ("row 4", "Effusion", "", "hedged_label", "pleural effusion"),
    ]
    assert found[3]["caption"].startswith("'=")
    assert len(found) == 4


def test_a_list_of_disagreements_is_whole_or_not_there(captioner, tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [*ROWS, {"labels": ["Goiter"], "caption": GOOD}])
    options = ("--schema", "chestxray14", "--strict", "--disagreements", tmp_path / "d.csv")
    assert captioner("audit", path, *options)[0] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl"]


def test_json_goes_to_stdout_alone(captioner, tmp_path):
    code, out, _ = captioner(
        "audit", jsonl(tmp_path / "a.jsonl"), "--schema", "chestxray14", "--out", tmp_path / "out", "--json"
    )
    assert code == 0
    assert json.loads(out)["captions"] == 6


def test_a_threshold_that_is_missed_is_exit_code_1_and_says_which(captioner, tmp_path):
    arguments = ("audit", jsonl(tmp_path / "a.jsonl"), "--schema", "chestxray14")
    limits = ("--min-agreement", 0.4, "--max-issue", "hedged_label=0.1", "--junit", tmp_path / "j.xml", "--github")
    code, out, err = captioner(*arguments, *limits)
    assert code == 1
    assert "threshold missed: 16.7 % of the captions have an error hedged_label; at most 10.0 % may" in err
    assert "::error title=captioner audit::" in out
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()
    assert captioner(*arguments, "--min-agreement", 0.4)[0] == 0


def test_that_nothing_could_be_judged_is_no_threshold_of_anybody_s(captioner, tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"labels": ["Goiter"], "caption": GOOD}])
    code, _, err = captioner("audit", path, "--schema", "chestxray14")
    assert code == 1
    assert err.endswith("no caption could be judged (not audited: 1 unknown label)\n")
    assert "threshold" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-issue", "hedge=0.1"), "no code 'hedge'"),
        (("--strict",), "row 1: label 'Goiter'"),
        (("--labels-column", "x"), "no column 'x'; it has: labels, caption"),
    ],
)
def test_what_a_person_gets_wrong_is_exit_code_2_and_leaves_no_report(captioner, tmp_path, options, message):
    path = jsonl(tmp_path / "a.jsonl", [{"labels": ["Goiter"], "caption": GOOD}])
    code, _, err = captioner("audit", path, "--schema", "chestxray14", *options)
    assert code == 2
    assert message in err
    assert not (tmp_path / "audit-a").exists()


def test_a_review_goes_from_the_sample_to_the_checkers_precision(captioner, tmp_path):
    arguments = ("audit", jsonl(tmp_path / "a.jsonl"), "--schema", "chestxray14", "--out", tmp_path / "out")
    code, out, _ = captioner(*arguments, "--review", 0.1)
    assert code == 0
    assert "for review: 6 captions in" in out
    sheet = tmp_path / "out" / "review.csv"
    text = sheet.read_text(encoding="utf-8-sig").replace(",,\r\n", ",agree,\r\n").replace(",,\n", ",agree,\n")
    sheet.write_text(text, encoding="utf-8")
    code, out, _ = captioner("review", sheet, "--allow", tmp_path / "allow.jsonl")
    assert code == 0
    assert "6 captions reviewed" in out
    assert "precision       0 %" in out
    assert "3 accepted captions" in out
    code, out, _ = captioner(*arguments, "--allow", tmp_path / "allow.jsonl")
    assert "6 of 6 captions agree" in out


def test_two_label_tables_are_compared_row_by_row(captioner, tmp_path):
    names = [tmp_path / n / "labels.csv" for n in ("a", "b")]
    for path, label in zip(names, ("cxr_effusion", "cxr_nodule|cxr_effusion"), strict=True):
        path.parent.mkdir()
        table(path, [("1.png", label, ""), ("2.png", "cxr_normal", "")], ("image", "labels", "view"))
    code, out, err = captioner("diff", *names, "--schema", "demo", "--out", tmp_path / "d.csv")
    assert code == 0, err
    assert "1 of 2 images that both tables have are labelled the same (50.0 %)." in out
    assert "1,2,2,cxr_effusion,cxr_effusion|cxr_nodule,,cxr_nodule" in (tmp_path / "d.csv").read_text()
    code, out, _ = captioner("diff", *names, "--schema", "demo", "--json")
    assert json.loads(out)["rows"][0]["gained"] == "cxr_nodule"


def test_runs_are_compared_and_audited_by_one_command_each(captioner, tmp_path):
    runs = make_runs(tmp_path)
    code, out, _ = captioner("compare", runs["careless"], runs["careful"], "--out", tmp_path / "cmp")
    assert code == 0
    assert "| agree as written |" in out
    assert (tmp_path / "cmp" / "compare.html").is_file()
    code, out, _ = captioner("compare", runs["careless"], runs["careful"], "--json")
    assert json.loads(out)["triplets"] == 15
    code, out, _ = captioner("audit", runs["careless"], "--schema", "demo", "--min-agreement", 1)
    assert code == 0
    assert (runs["careless"] / "report" / "index.html").is_file()
    code, _, err = captioner("compare", runs["careless"])
    assert code == 2
    assert "at least two different runs" in err
