"""The command line: what a person sees who gets something wrong, and what programs read."""

import json
import re
import sys

import pytest
import typer
from PIL import Image

from captioner.cli import app, main
from captioner.demo import make_dataset
from tests.engines.faulty import FaultyServer
from tests.model import careful


@pytest.fixture
def captioner(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["captioner", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return end.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def demo(tmp_path):
    make_dataset(tmp_path / "data")
    return tmp_path


def commands(group, *before):
    """Every command of the program, with those that hold others before it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)
        else:
            yield " ".join((*before, name))


COMMANDS = sorted(commands(typer.main.get_command(app)))


def test_help_names_every_command(captioner):
    code, out, _ = captioner("--help")
    assert code == 0
    listed = set(re.findall(r"^\W*([a-z]+) ", out, re.MULTILINE))
    assert {c.split()[0] for c in COMMANDS} <= listed
    assert {"audit", "check", "compare", "demo", "diff", "plan", "review", "run", "status", "unpack"} <= listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(captioner, command):
    code, out, _ = captioner(*command.split(), "--help")
    assert code == 0
    assert f"captioner {command}" in out


def test_a_plan_sends_and_writes_nothing_and_counts_what_would_be_done(captioner, demo):
    before = sorted(demo.rglob("*"))
    code, out, _ = captioner(
        "plan", "demo", "--data", demo / "data", "--out", demo / "out", "--json", "--set", "engine.model=x"
    )
    assert code == 0
    plan = json.loads(out)
    assert (plan["rows"], plan["samples"], plan["triplets"], plan["requests"], plan["done"]) == (22, 19, 16, 16, 0)
    assert plan["prompt_tokens"] > 1000
    assert plan["rejected_rows"] == {"contradiction": 1, "missing_image": 1, "unknown_label": 1}
    assert sorted(demo.rglob("*")) == before


def test_a_run_says_as_json_what_it_came_to(captioner, demo):
    code, out, _ = captioner("run", "demo", "--data", demo / "data", "--out", demo / "out", "--json")
    assert code == 0
    summary = json.loads(out)
    assert (summary["images"], summary["captions"], summary["complete"]) == (18, 150, True)
    assert summary["rejected_rows"]["corrupt_image"] == 1


def test_missing_images_make_the_exit_code_1_unless_they_are_as_they_should_be(captioner, demo):
    arguments = ("run", "demo", "--data", demo / "data", "--out", demo / "out", "--set", "data.missing=report")
    code, out, _ = captioner(*arguments)
    assert code == 1
    assert "2 rows have a label but no usable image" in out
    rows = (demo / "out" / "rejected_rows.csv").read_text()
    assert "labels.csv,15," in rows
    assert "missing_image" in rows


def test_a_dataset_without_its_images_gets_support_sets_and_a_table_of_captions(captioner, demo):
    code, out, _ = captioner("run", "demo", "--data", demo / "data", "--out", demo / "out", "--set", "data.images=none")
    assert code == 0
    (run,) = (demo / "out" / "runs").iterdir()
    assert (run / "captions.parquet").is_file()
    assert not (demo / "out" / "images").exists()
    assert "images in shards" not in out


def test_the_prompt_is_shown_exactly_as_it_would_be_sent(captioner):
    code, out, _ = captioner(
        "prompt", "show", "chestxray14", "--labels", "Effusion|nodule", "--prompt", "report", "--json"
    )
    assert code == 0
    shown = json.loads(out)
    assert [m["role"] for m in shown["messages"]] == ["system", "user"]
    assert shown["triplet"]["findings"] == ["Nodule", "Effusion"] or shown["triplet"]["findings"] == [
        "Effusion",
        "Nodule",
    ]
    assert shown["response_schema"]["properties"]["captions"]["minItems"] == 10


def test_the_catalogue_is_listed_and_shown(captioner):
    code, out, _ = captioner("schema", "list", "--json")
    assert code == 0
    assert {"chestxray14", "radimagenet", "retina_flair"} <= {s["id"] for s in json.loads(out)}
    code, out, _ = captioner("schema", "show", "busi")
    assert code == 0
    assert "malignant" in out


def test_every_shipped_schema_lints_without_an_error(captioner):
    code, out, _ = captioner("schema", "lint")
    assert code == 0, out


def test_a_new_schema_is_drafted_linted_and_run(captioner, demo):
    table = demo / "data" / "labels.csv"
    table.write_text("image,labels\nchest/cxr_001.png,Cardiomegaly\nchest/cxr_002.png,Cardiomegaly|Effusion\n")
    code, out, _ = captioner("schema", "new", table, "--modality", "xray", "--anatomy", "chest", "--id", "mine")
    assert code == 0
    assert "2 rows, 2 usable, 2 combinations of labels" in out
    assert re.search(r"1 +Cardiomegaly, Effusion +cardiomegaly, (pleural )?effusion", out)
    path = demo / "label_schemas" / "mine.yaml"
    text = path.read_text()
    assert captioner("schema", "new", table, "--modality", "xray", "--anatomy", "chest", "--id", "mine")[0] == 2
    path.write_text(text.replace("name: effusion", "concept: chest.pleural_effusion #"))
    assert captioner("schema", "lint", "mine")[0] == 0
    code, out, _ = captioner("run", "mine", "--data", demo / "data", "--out", demo / "mine", "--json")
    assert code == 0
    assert json.loads(out)["captions"] == 20


def test_whole_shards_verify_and_a_flipped_bit_does_not(captioner, demo):
    assert captioner("run", "demo", "--data", demo / "data", "--out", demo / "out")[0] == 0
    assert captioner("shards", "verify", demo / "out")[0] == 0
    shard = next((demo / "out" / "images").glob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    code, _, err = captioner("shards", "verify", demo / "out")
    assert code == 1
    assert shard.name in err


def table(text):
    def write(folder):
        (folder / "data" / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


@pytest.mark.parametrize(
    ("prepare", "arguments", "says"),
    [
        (table("image,label,view\na.png,dr_0,\n"), (), "Did you mean 'label'?"),
        (table("image,labels\ncaf\xe9.png,dr_0\n".encode("latin-1")), (), "encoding"),
        (table(""), (), "empty"),
        (table("image,labels,view\n"), (), "no row"),
        (None, ("--set", "schema=chestxray"), "Did you mean 'chestxray14'"),
        (None, ("--set", "schema=bad.yaml"), "bad.yaml: tables: is missing"),
        (None, ("--set", "prompt=bad.j2"), "bad.j2:1: unknown name 'findngs'. Did you mean 'findings'?"),
        (None, ("--set", "prompt=reprot"), "Did you mean 'report'?"),
        (None, ("--set", "captons=3"), "Did you mean 'captions'?"),
        (None, ("--set", "triplets.attributes=[veiw]"), "Did you mean 'view'?"),
        (None, ("--set", "engine.model=x", "--set", "engine.modle=y"), "Did you mean 'model'?"),
        (None, ("--set", "data.root=nowhere"), "nowhere"),
        (None, ("--set", "data.images=nowhere"), "nowhere"),
        (None, ("--set", "out=data"), "data: not empty"),
        (None, ("--set", "out=bad.j2"), "bad.j2: is a file"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_bad_input_gets_one_clear_message_and_exit_code_2(captioner, demo, prepare, arguments, says):
    (demo / "bad.j2").write_text("{% extends '_base.j2' %}{% block style %}{{ findngs }}{% endblock %}")
    (demo / "bad.yaml").write_text(
        "id: bad\ntitle: Bad\nclasses: [{code: a, name: b}]\nmodality: xray\nanatomy: chest\n"
    )
    if prepare:
        prepare(demo)
    code, out, err = captioner("run", "demo", "--set", "data.root=data", "--set", "out=out", *arguments)
    assert says in err + out
    assert code == 2


def test_the_output_of_another_dataset_is_refused(captioner, demo):
    assert captioner("run", "demo", "--data", demo / "data", "--out", demo / "out")[0] == 0
    (demo / "yes").mkdir()
    code, _, err = captioner("run", "brain_mri_tumor", "--data", demo / "data", "--out", demo / "out")
    assert code == 2
    assert "demo" in err or "folders" in err


def test_a_table_cannot_reach_out_of_its_folder_and_its_text_is_never_run(captioner, demo):
    secret = demo / "secret.png"
    secret.write_bytes((demo / "data" / "images" / "chest" / "cxr_001.png").read_bytes())
    rows = [
        "../secret.png,dr_0",
        f"{secret},dr_0",
        "chest/cxr_001.png,{{ 31337 * 3 }}",
        "chest/cxr_002.png,<script>alert(1)</script>",
    ]
    (demo / "data" / "labels.csv").write_text(
        "image,labels\n" + "\n".join(rows) + "\nchest/cxr_003.png,cxr_cardiomegaly\n"
    )
    code, out, _ = captioner(
        "run", "demo", "--data", demo / "data", "--out", demo / "out", "--json", "--set", "data.missing=report"
    )
    assert code == 1
    summary = json.loads(out)
    assert summary["images"] == 1
    assert summary["rejected_rows"] == {"bad_image_reference": 2, "unknown_label": 2}
    rejected = (demo / "out" / "rejected_rows.csv").read_text()
    assert "{{ 31337 * 3 }}" in rejected
    assert "94011" not in rejected


def test_an_unknown_command_or_option_is_bad_usage(captioner):
    assert captioner("rnu")[0] == 2
    assert captioner("run")[0] == 2
    assert captioner("check", "--schema", "busi", "--inptu", "x")[0] == 2


def test_check_fails_below_the_agreement_that_is_asked_for(captioner, tmp_path):
    rows = [
        {"labels": "benign", "caption": "Breast ultrasound showing a benign lesion."},
        {"labels": "benign", "caption": "Hello."},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    arguments = ("check", "--schema", "busi", "--input", "in.jsonl", "--output", "out.jsonl", "--min-agreement")
    assert captioner(*arguments, "0.5")[0] == 0
    assert captioner(*arguments, "0.9")[0] == 1


def test_an_engine_is_tried_and_what_it_cannot_do_is_said(captioner):
    with FaultyServer(caption=careful, unsupported={"json_schema"}) as server:
        arguments = ("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}", "--requests", "6")
        code, out, _ = captioner("engine", "test", *arguments, "--json")
    trial = json.loads(out)
    assert code == 0
    assert (trial["requests"], trial["answered"], trial["readable"], trial["captions"]) == (6, 6, 6, 60)
    assert trial["agreeing"] > 50
    assert trial["notes"]


def test_an_engine_that_talks_instead_of_answering_fails_its_trial_with_advice(captioner):
    with FaultyServer(caption=lambda body: "Of course! Here they come.") as server:
        arguments = ("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}", "--requests", "2")
        code, out, _ = captioner("engine", "test", *arguments)
    assert code == 1
    assert "not in the form asked for" in out


RUN = ("run", "demo", "--data", "data")
MODEL = (*RUN, "--out", "new", "--set", "engine.model=gpt-5-mini")


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        # What stands where output should go is the caller's to choose: 2.
        ((*RUN, "--out", "file"), (2, "file: is a file")),
        ((*RUN, "--out", "file/below"), (2, "file: is a file")),
        (("demo", "--out", "file"), (2, "file")),
        (("demo", "--out", "file/below"), (2, "file")),
        (("shards", "build", "demo", "--data", "data", "--out", "file"), (2, "file: is a file")),
        ((*RUN, "--out", "data"), (2, "not made by captioner")),
        # What the system does not let be written, and whatever an engine refuses, has failed: 1.
        ((*RUN, "--out", "/proc/nowhere/out"), (1, "cannot write")),
        (("shards", "build", "demo", "--data", "data", "--out", "/proc/nowhere/out"), (1, "cannot write")),
        (("demo", "--out", "/proc/nowhere/out"), (1, "/proc/nowhere")),
        (MODEL, (1, "OPENAI_API_KEY")),
        ((*MODEL, "--set", "engine.api_key_env=NO_SUCH_KEY"), (1, "NO_SUCH_KEY")),
        ((*MODEL, "--set", "engine.api_key_file=nowhere.txt"), (1, "nowhere.txt")),
        ((*MODEL, "--set", "engine.base_url=http://127.0.0.1:9/v1"), (1, "127.0.0.1:9")),
        (("engine", "test", "--set", "engine.model=gpt-5-mini"), (1, "OPENAI_API_KEY")),
        # A setting that is not valid is usage: 2.
        ((*MODEL, "--set", "engine.modle=x"), (2, "modle")),
        ((*MODEL, "--set", "engine.base_url=ftp://x"), (2, "ftp://x")),
    ],
)
def test_an_exit_code_says_whether_the_call_was_wrong_or_something_failed(
    captioner, demo, monkeypatch, arguments, ending
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (demo / "file").write_text("mine")
    code, _, err = captioner(*arguments)
    assert ending[1] in err
    assert code == ending[0]
    assert (demo / "file").read_text() == "mine"


def test_progress_is_logged_as_json_lines_where_that_is_asked_for(captioner, demo):
    code, _, err = captioner("run", "demo", "--data", demo / "data", "--out", demo / "out", "--log-json")
    assert code == 0
    events = [json.loads(line) for line in err.splitlines()]
    assert [e["stage"] for e in events if e["event"] == "stage"][-3:] == [
        "captioning",
        "writing support sets",
        "writing captions",
    ]


@pytest.fixture
def figures(tmp_path):
    """Six records of figures with captions; four of their five images are there."""
    lines = [{"image": f"PMC{i}.jpg", "caption": f"Figure {i}."} for i in (0, 1, 2, 3, 4, 0)]
    data = tmp_path / "figures"
    (data / "images").mkdir(parents=True)
    (data / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for i in range(4):
        Image.new("L", (4, 4), i).save(data / "images" / f"PMC{i}.jpg")
    return data


def test_a_dataset_with_texts_of_its_own_is_planned_and_run_as_any_other(captioner, figures):
    code, out, _ = captioner("plan", "pmc_oa", "--data", figures, "--json")
    planned = json.loads(out)
    assert (code, planned.pop("run")[:13]) == (0, "texts-caption")
    assert planned == {
        "rows": 6,
        "samples": 4,
        "captions": 4,
        "rejected_rows": {"missing_image": 1},
        "requests": 0,
    }
    code, out, _ = captioner("run", "pmc_oa", "--data", figures, "--out", "out")
    assert code == 1
    assert "4 with texts, in shards" in out
    assert "data.missing=ignore" in out
    code, out, _ = captioner("run", "pmc_oa", "--data", figures, "--out", "out", "--set", "data.missing=ignore")
    assert code == 0


def test_a_setting_that_texts_do_not_have_is_refused(captioner, figures):
    code, _, err = captioner("run", "pmc_oa", "--data", figures, "--set", "engine.model=x")
    assert code == 2
    assert "engine" in err


def test_the_list_of_datasets_has_those_with_labels_and_those_with_texts_and_their_facts(captioner):
    code, out, _ = captioner("schema", "list", "--json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["busi"]["classes"] == 3
    assert rows["openi"]["texts"] == ["report", "findings", "impression"]
    for row in rows.values():
        assert row["verified"]
        assert row["sources"]
        assert row["modality"]
        assert row["anatomy"]


def test_slices_are_stacked_and_a_series_that_is_not_whole_is_named(captioner, tmp_path):
    for series, numbers in (("a", (1, 2, 3)), ("b", (1, 2, 4))):
        (tmp_path / "data" / series).mkdir(parents=True)
        for number in numbers:
            Image.new("L", (4, 4), number).save(tmp_path / "data" / series / f"{number}.png")
    code, out, err = captioner("stack", "data", "--out", "volumes")
    assert (code, out.splitlines()[0]) == (1, "volumes: 1 volume (1 written now)")
    assert "b: missing_slice: slice 3 is missing between 1 and 4" in err
    assert captioner("stack", "data", "--out", "volumes", "--size", "8")[0] == 2
