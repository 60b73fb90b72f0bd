"""A whole run against a server of which three answers in ten are faulty: what is stored, and what it costs.

Each fault of the tests' faulty server, and a wrong caption in each agreement code, makes up an equal part of the rate; all are
drawn with a seed. Every caption that the run has written is then checked again, and must be none of those that were made
wrong. The ideal is one request for each triplet.

    python -m benchmarks.faults [--rate 0.3] [--triplets 600] [--seed 0]
"""

import argparse
import json
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from captioner import resources
from captioner import run as running
from captioner.agreement import Checker
from captioner.pipeline import load_pipeline
from captioner.schema import load_schema
from tests.engines.faulty import CONTENT_FAULTS, TRANSPORT_FAULTS, FaultyServer
from tests.wrong import CODES, Model

_CHEST = ("cxr_cardiomegaly", "cxr_effusion", "cxr_consolidation", "cxr_nodule")
_ALONE = (
    "cxr_normal",
    *(f"dr_{i}" for i in range(5)),
    "us_normal",
    "us_benign",
    "us_malignant",
    "mri_tumor",
    "mri_no_tumor",
)


def dataset(folder: Path, count: int) -> dict[str, Any]:
    """Write a label table of so many distinct triplets of all kinds, and return what a pipeline says of it."""
    schema = yaml.safe_load(resources.find("label_schemas", "demo").read_text(encoding="utf-8"))
    schema["attributes"] = {"view": {"column": "view"}}
    (folder / "kinds.yaml").write_text(json.dumps(schema), encoding="utf-8")
    labels = [*_ALONE, *("|".join(c) for n in range(1, 5) for c in combinations(_CHEST, n))]
    rows = [f"{i:05}.png,{labels[i % len(labels)]},series {i}" for i in range(count)]
    (folder / "labels.csv").write_text("\n".join(["image,labels,view", *rows]) + "\n", encoding="utf-8")
    return {
        "schema": str(folder / "kinds.yaml"),
        "data": {"root": str(folder), "images": "none"},
        "triplets": {"attributes": ["view"]},
        "out": str(folder / "out"),
    }


def faulty(rate: float, seed: int) -> FaultyServer:
    """Return a server with every fault at the same rate, and a model that is wrong in every code at the same rate."""
    kinds = [*TRANSPORT_FAULTS, *CONTENT_FAULTS]
    each = rate / (len(kinds) + len(CODES))
    return FaultyServer(caption=Model(dict.fromkeys(CODES, each), seed), faults=dict.fromkeys(kinds, each), seed=seed)


def disagreeing(folder: Path, model: Model) -> tuple[int, list[str]]:
    """Return how many captions a run has written, and those that disagree with their labels or were made wrong."""
    schema = load_schema(str(folder / "kinds.yaml"))
    checker, count, bad = Checker(schema), 0, list[str]()
    wrong: dict[int, list[str]] = {}
    for about, caption in model.wrong:
        wrong.setdefault(int(about.partition("View: series ")[2].split()[0]), []).append(caption)
    (path,) = (folder / "out" / "runs").glob("*/captions.parquet")
    for row in pq.read_table(path).to_pylist():
        count += len(row["captions"])
        made_wrong = wrong.get(int(row["image"].removesuffix(".png")), [])
        bad += [c for c in row["captions"] if c in made_wrong or not checker.check(c, row["labels"]).agrees]
    return count, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--triplets", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, faulty(options.rate, options.seed) as server:
        folder = Path(temporary)
        engine = {"model": "tiny", "base_url": server.base_url, "timeout": 3, "retry_wait": 0.05}
        begin = time.monotonic()
        plan = running.prepare(load_pipeline(dataset(folder, options.triplets) | {"engine": engine}))
        summary = running.execute(plan)
        seconds = time.monotonic() - begin
        assert isinstance(server.caption, Model)
        captions, bad = disagreeing(folder, server.caption)
    sent, ideal = len(server.bodies), options.triplets
    print(f"{sent:,} requests in {seconds:.0f} s, of which faulty: {dict(server.served)}")
    print(f"captions made wrong: {len(server.caption.wrong):,}; refused for {dict(summary.rejected_by_code)}")
    print(f"triplets: {dict(summary.triplets)}; captions written: {captions:,}, by {dict(summary.sources)}")
    print(f"captions that disagree with their labels: {len(bad)} {bad[:3]}")
    print(f"requests / ideal: {sent / ideal:.2f}")
    return int(bool(bad) or not summary.complete)


if __name__ == "__main__":
    sys.exit(main())
