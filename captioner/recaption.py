"""A finished run's caption shards, written again from its support sets; nothing is asked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from captioner import atomic
from captioner.agreement import Checker
from captioner.checking import verdict_of
from captioner.errors import OutputError
from captioner.folder import lock
from captioner.pipeline import PipelineSpec, load_pipeline
from captioner.run import Plan, prepare, write_captions
from captioner.shards import CaptionReport
from captioner.storage import Place

_SETS = "support_sets.parquet"


def rewrite_captions(
    folder: Path, *, data: Place | None = None, progress: Callable[[int], None] | None = None
) -> CaptionReport:
    """Write the caption shards of a finished run again, for the image shards that there are now.

    Which image has which labels is read from the label table again; each caption is checked against them again.

    Args:
        folder: the run's folder, ``OUT/runs/RUN``.
        data: where the dataset is now, if it has moved.
        progress: called after each shard with the number of images handled so far.

    Raises:
        OutputError: the folder holds no finished run, its schema has changed since, or a caption does not agree.
        ShardError: there are no image shards.
        CaptionerError: the label table cannot be read.
    """
    record = _record(folder)
    plan = prepare(_spec(folder, record, data))
    if plan.schema.hash != record["hashes"]["schema"]:
        raise OutputError(
            f"{folder}: the schema {plan.schema.id!r} has changed since this run was made. "
            "Start the run again: it judges all stored answers anew."
        )
    plan.with_images = True  # the image shards say which images there are
    sets = _sets(folder / _SETS)
    _check(plan, sets, folder / _SETS)
    captions = {each["triplet"]: each["captions"] for each in sets}
    with atomic.storage(plan.out), lock(plan.out):
        report = write_captions(plan, folder, lambda triplet: captions.get(triplet.id), progress)
    assert report is not None
    return report


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "pipeline.yaml"
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and "schema" in record["hashes"] and (folder / _SETS).is_file():
            return record
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise OutputError(f"{folder}: no run's folder: pipeline.yaml cannot be read ({error}).") from None
    raise OutputError(f"{folder}: no finished run: there is no {_SETS}. Start the run again to finish it.")


def _spec(folder: Path, record: Mapping[str, Any], data: Place | None) -> PipelineSpec:
    # Neither engine nor prompt is used again, and images are not looked for: their shards are there.
    place = {"root": data, "table": None} if data is not None else {}
    # Words that the check does not know had passed where that was asked for, and where a judge had the last word.
    unknown = "accept" if "judge" in record else record["loop"]["unknown_words"]
    return load_pipeline(
        {
            "schema": record["schema"],
            "data": {**record["data"], **place, "images": "none"},
            "triplets": record["triplets"],
            "captions": record["captions"],
            "loop": {"unknown_words": unknown},
            "name": folder.name,
            "out": folder.parent.parent,
        }
    )


def _sets(path: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = pq.read_table(path, columns=["triplet", "captions"]).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise OutputError(f"{path} cannot be read: {error}. Start the run again to write it again.") from None
    return found


def _check(plan: Plan, sets: list[dict[str, Any]], path: Path) -> None:
    """Refuse captions that do not agree with the labels of the table: nothing unchecked goes into a shard."""
    triplets = {triplet.id: triplet for triplet in plan.triplets}
    checker = Checker(plan.schema)
    for each in sets:
        if (triplet := triplets.get(each["triplet"])) is None:
            continue
        for caption in each["captions"]:
            verdict = verdict_of(checker, triplet, caption)
            if not verdict.agrees:
                codes = ", ".join(dict.fromkeys(i.code for i in verdict.issues if i.level == "error"))
                raise OutputError(
                    f"{path}: triplet {triplet.id}: a caption does not agree with the labels "
                    f"{', '.join(triplet.findings)} ({codes}): {caption!r}. Start the run again: it judges all stored "
                    "answers anew."
                )
