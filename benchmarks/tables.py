"""What label tables cost, paired in one run: from the file to distinct triplets, against pandas.read_csv of the same file.

Every round runs each way once, in turn; the ratio of the medians is printed, with the range of the rounds' ratios, since
seconds say more of the machine than of the code. The tables are the published ones where an environment variable says in
which folder they are, else made: of the same columns and rows, and with about as many combinations of labels.

    CAPTIONER_REAL_DATA   NIH ChestX-ray14: nih_chestxray14/Data_Entry_2017_v2020.csv.gz
    CAPTIONER_XRV_DATA    CheXpert and PadChest, as torchxrayvision's data folder has them

The last table has a million rows, each with a triplet of its own.

    python -m benchmarks.tables [--rounds 9] [--only padchest]
"""

import argparse
import csv
import gzip
import io
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.million import SCHEMA as MANY
from benchmarks.million import write_table
from captioner.distinct import distinct
from captioner.images import locate
from captioner.schema import LabelSchema, load_schema, parse_schema
from captioner.tables import read_samples

Rows = Iterator[tuple[object, ...]]


@dataclass(frozen=True)
class Case:
    """A table: where the published one is, and how one of the same form is made."""

    schema: str
    variable: str
    path: str
    make: Callable[[random.Random], Rows]


def chestxray14(draw: random.Random) -> Rows:
    yield (
        *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender"),
        *("View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"),
    )
    codes = [c.code for c in load_schema("chestxray14").classes if c.kind == "finding"]
    for row in range(112_120):
        patient, visit = divmod(row, 4)
        count = draw.choices((0, 1, 2, 3, 4), (60, 25, 10, 4, 1))[0]
        labels = "|".join(draw.sample(codes[: 8 if count > 2 else 14], count)) or "No Finding"
        person = (visit, patient, draw.randint(1, 90), draw.choice("MF"), draw.choice(("PA", "AP")))
        yield (f"{patient:08d}_{visit:03d}.png", labels, *person, 2682, 2749, 0.143, 0.143)


def chexpert(draw: random.Random) -> Rows:
    codes = load_schema("chexpert").codes
    yield ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *codes)
    signs = [("", *draw.choices(("", "1.0", "0.0", "-1.0"), (60, 22, 11, 7), k=len(codes) - 1)) for _ in range(25_000)]
    signs.append(("1.0", *[""] * (len(codes) - 1)))
    for row in range(223_414):
        patient, study = divmod(row, 4)
        view = draw.choices(("frontal", "lateral"), (82, 18))[0]
        person = (draw.choice(("Male", "Female")), draw.randint(18, 90), view.title(), draw.choice(("AP", "PA")))
        which = row if row < len(signs) else -1 - int(len(signs) * draw.random() ** 6)
        path = f"CheXpert-v1.0-small/train/patient{patient:05d}/study{study + 1}/view1_{view}.jpg"
        yield (path, *person, *signs[which])


def padchest(draw: random.Random) -> Rows:
    before = ("", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM")
    between = ("ViewPosition_DICOM", "Projection", "MethodProjection", "Pediatric", *(f"DICOM_{i}" for i in range(15)))
    yield (*before, *between, "ReportID", "Report", "MethodLabel", "Labels", "Localizations", "LabelCUIS")
    codes = [c.code for c in load_schema("padchest").classes if c.kind == "finding"]
    labels = [str(draw.sample(codes, 1 + min(7, int(draw.expovariate(0.5))))) for _ in range(37_000)] + ["['normal']"]
    words = [code.split()[0] for code in codes]
    for row in range(160_861):
        patient, study = divmod(row, 3)
        which = row if row < len(labels) else -1 - int(len(labels) * draw.random() ** 4)
        image = f"{draw.getrandbits(124)}_{draw.getrandbits(24):06x}.png"
        if row % 8:
            image = f"{draw.getrandbits(124)}_00-{row % 997:03d}-{study:03d}.png"
        report = " ".join(draw.choices(words, k=45)) + ("\n." if row % 30 == 0 else " .")
        said = f"['{report[:90]}', 'loc {words[row % len(words)]}']"
        begin = (row, image, row % 55, "20140915", f"{draw.getrandbits(124)}", f"{patient:030d}", "1940.0", "F")
        middle = ("POSTEROANTERIOR", draw.choice(("PA", "L", "AP")), "Manual review of DICOM fields", "No")
        yield (
            *begin,
            *middle,
            *(f"{i * 37}.5" for i in range(15)),
            row,
            report,
            "RNN_model",
            labels[which],
            said,
            said,
        )


CASES = (
    Case("chestxray14", "CAPTIONER_REAL_DATA", "nih_chestxray14/Data_Entry_2017_v2020.csv.gz", chestxray14),
    Case("chexpert", "CAPTIONER_XRV_DATA", "chexpert_train.csv.gz", chexpert),
    Case("padchest", "CAPTIONER_XRV_DATA", "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", padchest),
)


def table_of(case: Case, folder: Path) -> tuple[Path, str]:
    """Return the path of a case's table, which is written into a folder unless the published one is there."""
    if case.variable in os.environ and (path := Path(os.environ[case.variable]) / case.path).is_file():
        return path, "published table"
    path = folder / Path(case.path).name
    text = io.StringIO()
    csv.writer(text).writerows(case.make(random.Random(0)))
    path.write_bytes(gzip.compress(text.getvalue().encode(), 1, mtime=0))
    return path, "made table"


def measure(what: str, schema: LabelSchema, path: Path, rounds: int) -> None:
    chosen = list(schema.attributes) if schema.id == "many" else []
    samples = read_samples(schema, path)
    triplets, _ = distinct(schema, samples, attributes=chosen)

    ways: dict[str, Callable[[], object]] = {
        "pandas.read_csv": lambda: pd.read_csv(path, low_memory=False),
        "samples": lambda: read_samples(schema, path),
        "samples and distinct triplets": lambda: distinct(schema, read_samples(schema, path), attributes=chosen),
        "finding images": lambda: locate(samples, path.parent),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    print(
        f"{schema.title}, {what}: {samples.rows:,} rows, {len(samples.combinations):,} combinations of labels, "
        f"{len(triplets):,} triplets"
    )
    print(f"  {'':32}{'ms':>9}{'x pandas.read_csv (range)':>30}")
    base = times["pandas.read_csv"]
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found, base, strict=True)]
        ratio = statistics.median(found) / statistics.median(base)
        spread = f"{ratio:.2f} ({min(ratios):.2f} … {max(ratios):.2f})"
        print(f"  {name:32}{1000 * statistics.median(found):9.1f}{spread:>30}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=[*(case.schema for case in CASES), "many"], help="one of the tables")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for case in CASES:
            if options.only in (None, case.schema):
                path, what = table_of(case, folder)
                measure(what, load_schema(case.schema), path, options.rounds)
        if options.only in (None, "many"):
            measure("made table", parse_schema(MANY), write_table(folder, 1_000_000), min(options.rounds, 3))


if __name__ == "__main__":
    main()
