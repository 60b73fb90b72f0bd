"""The command line: what a person sees who gets something wrong, and what programs read."""

import errno
import inspect
import io
import json
import re
import shutil
import sys

import pytest
import typer
from PIL import Image

from captioner.cli import app, main
from captioner.demo import make_dataset
from captioner.errors import StorageError
from captioner.store import Ledger
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


def callback_of(command):
    found = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]
    return found.callback


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_all_that_was_written_for_it_brackets_too(captioner, command):
    _, out, _ = captioner(*command.split(), "--help")
    shown = " ".join(out.split())
    written = inspect.getdoc(callback_of(command)).split("\n\n")
    assert [p for p in written if " ".join(p.split()).replace("\\[", "[") not in shown] == []


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
    assert "2 folders: all shards are whole" in captioner("shards", "verify", demo / "out")[1]
    shard = next((demo / "out" / "images").glob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    code, _, err = captioner("shards", "verify", demo / "out")
    assert code == 1
    assert shard.name in err


@pytest.mark.parametrize(
    ("flag", "limit"), [("--max-requests", "limits.requests=3"), ("--max-cost", "limits.cost=2.0")]
)
def test_a_run_stops_at_a_limit_of_the_command_line_and_goes_on_without(captioner, demo, flag, limit):
    with FaultyServer(caption=careful) as server:
        value = limit.partition("=")[2]
        settings = (
            *("engine.model=tiny", f"engine.base_url={server.base_url}", "engine.concurrency=1"),
            *("price.input=10000", "price.output=10000"),
        )
        given = ["--data", demo / "data", "--out", demo / "out", *(f"--set={setting}" for setting in settings)]
        code, said, _ = captioner("run", "demo", *given, flag, value)
        assert (code, f"{limit} is reached" in said) == (1, True)
        assert 0 < len(server.bodies) < 15
        assert captioner("run", "demo", *given)[0] == 0


def test_the_shards_of_one_run_are_verified_beside_the_images_that_they_belong_to(captioner, demo, monkeypatch):
    assert captioner("run", "demo", "--data", demo / "data", "--out", demo / "out")[0] == 0
    (run,) = (demo / "out" / "runs").iterdir()
    code, said, _ = captioner("shards", "verify", run)
    assert (code, "1 folder: all shards are whole" in said) == (0, True)
    monkeypatch.chdir(run)
    for image in (demo / "data" / "images").rglob("*.png"):
        image.write_bytes(image.read_bytes() + b"another")
    assert captioner("run", "demo", "--data", demo / "data", "--out", demo / "others")[0] == 0
    shutil.rmtree(demo / "out" / "images")
    (demo / "others" / "images").rename(demo / "out" / "images")
    for where in (run, "."):
        code, _, err = captioner("shards", "verify", where)
        assert (code, "other_images" in err) == (1, True)
    shutil.rmtree(demo / "out" / "images")
    code, _, err = captioner("shards", "verify", run)
    assert (code, "no images at" in err) == (0, True)


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


def test_a_run_says_where_it_is_who_wrote_its_captions_and_shows_some(captioner, demo):
    code, out, _ = captioner("run", "demo", "--data", demo / "data", "--out", "out")
    (run,) = (demo / "out" / "runs").iterdir()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, lines[0]) == (0, f"out/runs/{run.name}")
    assert "captions 150 accepted (150 by the built-in writer), 0 refused" in lines
    examples = [line for line in lines if line.startswith("for example ")]
    assert len(examples) == 3
    assert examples[0].startswith("for example cxr_cardiomegaly: ")


def test_a_plan_for_the_built_in_writer_counts_no_tokens(captioner, demo):
    code, out, _ = captioner("plan", "demo", "--data", demo / "data")
    assert code == 0
    assert "asks no model" in out
    assert "token" not in out


def test_a_schema_can_be_run_by_its_file_wherever_that_is(captioner, demo):
    table = demo / "data" / "labels.csv"
    table.write_text("image,labels\nchest/cxr_001.png,Cardiomegaly\n")
    new = ("schema", "new", table, "--modality", "xray", "--anatomy", "chest")
    assert captioner(*new, "--column", "labels", "--out", "elsewhere.yaml", "--id", "mine")[0] == 0
    code, out, _ = captioner("run", "elsewhere.yaml", "--data", "data", "--out", "out", "--json")
    assert (code, json.loads(out)["captions"]) == (0, 10)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_name_that_nothing_has_is_answered_with_what_is_near_and_where_all_names_are(captioner, command):
    code, _, err = captioner(command, "opni", "--data", ".")
    assert code == 2
    assert "Did you mean 'openi'" in err
    assert "captioner schema list" in err
    assert len(captioner(command, "zzzzzz")[2]) < 200


@pytest.mark.parametrize("name", ["busi", "openi"])
def test_a_dataset_that_nobody_says_the_folder_of_is_asked_for(captioner, name):
    for command in ("run", "plan"):
        code, _, err = captioner(command, name)
        assert code == 2
        assert f"data/{name}: no such file or folder. Give the dataset's folder with --data FOLDER." in err


def test_a_dataset_with_texts_is_shown_and_linted_by_the_name_that_the_list_has(captioner):
    code, out, _ = captioner("schema", "show", "openi")
    assert code == 0
    assert "kinds of text: report, findings, impression" in out
    assert captioner("schema", "lint", "openi") == (0, "1 schema: 0 errors, 0 warnings\n", "")


def test_a_run_on_texts_has_a_status_too(captioner, figures):
    captioner("run", "pmc_oa", "--data", figures, "--out", "out")
    code, out, _ = captioner("status", "out")
    assert code == 0
    assert "4 (the dataset's own texts)" in out
    code, out, _ = captioner("status", "out", "--json")
    assert json.loads(out)[0]["captions"] == 4
    code, _, err = captioner("status", figures)
    assert code == 2
    assert "no run in this folder" in err


def test_a_run_that_asked_nothing_has_a_status_that_says_so(captioner, demo):
    folder = demo / "out" / "runs" / "begun"
    folder.mkdir(parents=True)
    with Ledger(folder / "ledger.sqlite", "0123456789abcdef"):
        pass
    code, out, _ = captioner("status", "out")
    assert code == 0
    assert "not begun   nothing was asked; start the same `captioner run …` again" in out


def test_texts_of_the_same_images_are_audited_by_the_schema_of_their_labels(captioner, demo):
    (demo / "text_schemas").mkdir()
    (demo / "text_schemas" / "own.yaml").write_text(
        "id: own\ntitle: Own\nmodality: X-ray\nanatomy: chest\ndataset: demo\nsources: [us]\nuse: [report]\n"
        "tables: [{files: [{match: r.csv}], image: '{image}', texts: {report: '{report}'}}]\n"
    )
    (demo / "data" / "r.csv").write_text("image,report\nchest/cxr_001.png,Chest X-ray with cardiomegaly.\n")
    (demo / "labels.csv").write_text("key,labels\ndemo-chest-cxr_001,cxr_cardiomegaly\n")
    assert captioner("run", "own", "--data", "data", "--out", "out")[0] == 0
    (run,) = (demo / "out" / "runs").iterdir()
    code, out, _ = captioner("audit", run, "--labels", "labels.csv")
    assert code == 0
    assert "1 of 1 captions agree" in out


def test_a_new_schema_takes_its_id_from_the_table_and_says_what_it_left_out(captioner, tmp_path):
    (tmp_path / "08_Mine.csv").write_text("image,label\na.png,Effusion\na.png,Effusion\nb.png,\nc.png,Effusion\n")
    code, out, _ = captioner("schema", "new", "08_Mine.csv", "--modality", "xray", "--anatomy", "chest")
    assert code == 0
    assert (tmp_path / "label_schemas" / "mine.yaml").is_file()
    assert "left out: 1 no_label, such as row 4: " in out
    assert "left out: 1 duplicate_row, such as row 3: " in out


def test_a_demo_whose_drawing_was_cut_off_is_drawn_anew(captioner, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("PIL.Image.Image.save", full)
        with pytest.raises(StorageError, match="the disk is full"):
            make_dataset(tmp_path / "demo" / "data")
    assert not (tmp_path / "demo" / "data").exists()
    assert captioner("demo")[0] == 0
    assert (tmp_path / "demo" / "data" / "labels.csv").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data").mkdir()
    assert captioner("demo", "--out", "mine")[0] == 2


LINES = (
    '{"labels": ["benign"], "caption": "Breast ultrasound showing a benign lesion."}\n'
    '{"labels": ["benign"], "caption": "Hello."}\n'
)


def test_captions_are_checked_in_a_pipe(captioner, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES.encode())))
    code, out, err = captioner("check", "--schema", "busi", "--input", "-", "--output", "-", "--min-agreement", "0.9")
    assert code == 1
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["agree", "disagree"]
    assert "1 of 2 captions agree" in err


def test_a_file_of_captions_that_is_not_there_or_has_no_rows_is_bad_usage(captioner, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine\n")
    (tmp_path / "empty.jsonl").write_text("")
    for source, says in (("nowhere.jsonl", "no such file"), ("empty.jsonl", "no rows")):
        code, _, err = captioner("check", "--schema", "busi", "--input", source, "--output", "out.jsonl")
        assert (code, says in err) == (2, True)
    assert (tmp_path / "out.jsonl").read_text() == "mine\n"


def test_verdicts_go_into_a_folder_that_is_made_and_columns_have_any_names(captioner, tmp_path):
    (tmp_path / "in.csv").write_text("finding,text\nbenign,Breast ultrasound showing a benign lesion.\n")
    arguments = ("check", "--schema", "busi", "--input", "in.csv", "--output", "new/out.csv")
    code, _, err = captioner(*arguments)
    assert code == 2
    assert "Name it with --labels-column." in err
    assert captioner(*arguments, "--labels-column", "finding", "--caption-column", "text")[0] == 0
    assert (tmp_path / "new" / "out.csv").is_file()


def test_an_audit_takes_a_runs_own_schema_and_asks_for_one_where_there_is_none(captioner, demo):
    assert captioner("run", "demo", "--data", "data", "--out", "out")[0] == 0
    (run,) = (demo / "out" / "runs").iterdir()
    for target in ("out", run):
        code, out, _ = captioner("audit", target)
        assert code == 0
        assert "150 of 150 captions agree" in out
    (demo / "captions.jsonl").write_text(LINES)
    for target, says in (("captions.jsonl", "Give --schema"), ("nowhere", "no such file or folder")):
        code, _, err = captioner("audit", target)
        assert (code, says in err) == (2, True)


def test_an_output_folder_stands_for_all_its_runs_where_runs_are_compared(captioner, demo):
    for prompt in ("plain", "report"):
        settings = ("--data", "data", "--out", "out", "--set", f"prompt={prompt}")
        assert captioner("run", "demo", *settings)[0] == 0
    code, out, _ = captioner("compare", "out")
    assert code == 0
    assert [out.count(run.name) > 0 for run in (demo / "out" / "runs").iterdir()] == [True, True]


def test_a_review_names_the_sheet_or_the_key_that_is_not_there(captioner, tmp_path):
    assert "anna.csv: no such file" in captioner("review", "anna.csv")[2]
    (tmp_path / "anna.csv").write_text("id,verdict\n")
    code, _, err = captioner("review", "anna.csv")
    assert code == 2
    assert "review.json: no such file; give the review.json of the audit" in err
