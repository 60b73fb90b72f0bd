"""Runs with a real engine whose words are known: it is made to say one text, with captions of several labels.

``structured_outputs: {"choice": [TEXT]}`` makes vLLM say exactly that, whatever its weights. To each question two of the ten
captions are right, or none; all others are wrong, and a run must refuse them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from captioner.agreement import Checker
from captioner.demo import make_dataset
from captioner.schema import load_schema
from captioner.shards import load_captions, verify
from captioner.triplets import Labels, make_triplet
from captioner.writer import write_captions

SAID = ("cxr_effusion", "cxr_normal", "dr_2", "us_benign", "mri_tumor")


@cache
def text() -> str:
    """Return what the engine says: JSON with ten captions."""
    schema = load_schema("demo")
    triplets = [make_triplet(schema, Labels((code,))) for code in SAID]
    return json.dumps({"captions": [caption for t in triplets for caption in write_captions(schema, t, 2, seed=1)]})


def scripted() -> dict[str, Any]:
    """Return the settings of an engine that asks vLLM to say it."""
    return {
        "engine.structured": "none",
        "engine.extra_body": json.dumps({"structured_outputs": {"choice": [text()]}}),
        "loop.repairs": 0,
        "loop.regenerations": 0,
    }


def captioner(
    *arguments: object, settings: Mapping[str, Any], python: str | Path = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return subprocess.run(
        [python, "-m", "captioner", *map(str, arguments), *flags],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def run_demo(folder: Path, settings: Mapping[str, Any], **options: Any) -> Path:
    """Caption the demo's dataset; returns the run's folder."""
    make_dataset(folder / "data")
    done = captioner("run", "demo", "--data", folder / "data", "--out", folder / "out", settings=settings, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (run,) = (folder / "out" / "runs").iterdir()
    assert verify(run / "captions", images=folder / "out" / "images") == []
    return run


def sources(run: Path) -> dict[tuple[str, ...], list[str]]:
    """Return the findings of each set with where its ten captions come from."""
    sets = pq.read_table(run / "support_sets.parquet").to_pylist()
    assert sets
    assert all(len(set(s["captions"])) == 10 for s in sets)
    return {tuple(s["findings"]): [p["source"] for p in s["provenance"]] for s in sets}


def judge_scripted(run: Path) -> None:
    """What a run must make of the text: two captions where it is right of a label, none elsewhere, nothing wrong."""
    from_model = {findings: found.count("engine") for findings, found in sources(run).items()}
    assert from_model == dict.fromkeys(from_model, 0) | {(code,): 2 for code in SAID}
    checker = Checker(load_schema("demo"))
    records = [r for t in sorted((run / "captions").glob("*.tar")) for r in load_captions(t).values()]
    assert len(records) == 18
    for record in records:
        for caption in record["captions"]:
            assert checker.check(caption, record["labels"]).agrees, (record["labels"], caption)
    refused = pq.read_table(run / "rejected.parquet").to_pylist()
    assert len({(r["triplet"], r["caption"]) for r in refused}) >= 10 * len(from_model) - 2 * len(SAID)
