"""UniMed's rules once more, as short as they can be said: from $DATA to samples, and from samples to tars.

Independent of the code under test: pandas and json read the files, tarfile writes the tars.
"""

import ast
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from tests.unimed import made

Samples = Iterator[tuple[Path, str]]


def write_tars(samples: Samples, folder: Path, size: int) -> None:
    """Number the samples of which there is an image, and write them, so many a tar."""
    folder.mkdir(parents=True)
    there = [(path, text) for path, text in samples if path.exists()]
    for first in range(0, len(there), size):
        with tarfile.open(folder / f"dataset-{first // size + 1:06d}.tar", "w") as archive:
            for number, (path, text) in enumerate(there[first : first + size], first):
                for name, content in ((f"{number:06d}.jpg", path.read_bytes()), (f"{number:06d}.txt", text.encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


def joined(captions: list[str], tag: str) -> str:
    return "".join(f"{caption.strip('.')}._{tag}_" for caption in captions)


def of_lists(file: str, images: str, text: Callable[[list[str]], str]) -> Callable[[Path], Samples]:
    def samples(data: Path) -> Samples:
        for image, _, captions in pd.read_csv(data / file).to_numpy():
            yield data / images / ast.literal_eval(image)[0], text(ast.literal_eval(captions))

    return samples


def mimic_cxr(data: Path) -> Samples:
    for image, _, captions, report in pd.read_csv(data / made.MIMIC).to_numpy():
        end = report if isinstance(report, str) else "noreportpresent"
        text = joined(ast.literal_eval(captions), "mimiccxr") + "_mimiccxr_" + end
        if text != "_mimiccxr_noreportpresent":
            yield data / "mimic-cxr-jpg" / ast.literal_eval(image)[0], text


def openi(data: Path) -> Samples:
    originals, refined = (json.loads((data / name).read_text("utf-8")) for name in made.OPENI)
    for row, captions in zip(originals["annotations"], refined["refined_captions"], strict=True):
        yield data / "openi/image" / f"{row['image_id']}.png", joined([row["caption"], *captions], "openi")


def retina_part1(data: Path) -> Samples:
    for name in ("03_IDRiD", "08_ODIR-5K", "11_STARE"):
        for row in pd.read_csv(data / made.RETINA / f"{name}.csv").to_dict("records"):
            captions = [*ast.literal_eval(row["captions"]), row["sentence_level_captions"]]
            yield data / "Retina-Datasets" / row["filename"], joined(captions, "all_retina_merged")


def retina_part2(data: Path) -> Samples:
    for row in pd.read_csv(data / made.RETINA / "06_DEN.csv").to_dict("records"):
        categories = ast.literal_eval(row["categories"])
        good = [c for c in categories if "year" not in c.strip("/") and "//" not in c.strip("/")]
        yield data / "Retina-Datasets" / row["image"], f"The fundus image of {good[-1]}" if good else categories[0]


def retina_part3(data: Path) -> Samples:
    for image, caption in pd.read_csv(data / made.RETINA / "39_MM_Retinal_dataset.csv").to_numpy():
        if isinstance(caption, str):
            yield data / "Retina-Datasets" / image, caption


def quilt_1m(data: Path) -> Samples:
    for row in pd.read_csv(data / made.QUILT).to_numpy():
        if isinstance(row[1], str):
            yield data / "Quilt/quilt_1m" / row[2], row[1].strip()


def pmc_oa(data: Path) -> Samples:
    for line in (data / made.PMC).read_text("utf-8").splitlines():
        row = json.loads(line)
        yield data / "pmc_oa/caption_T060_filtered_top4_sep_v0_subfigures" / row["image"], row["caption"].strip()


def rocov2(data: Path) -> Samples:
    for name, caption in pd.read_csv(data / made.ROCO).to_numpy():
        yield data / "ROCOV2/train" / f"{name}.jpg", caption.strip()


def llava_med_alignment(data: Path) -> Samples:
    for row in json.loads((data / made.ALIGNMENT).read_text("utf-8")):
        yield data / "llava_med/images" / row["image"], row["conversations"][1]["value"].strip()


def llava_med_instruct(data: Path) -> Samples:
    figures = [row for rows in json.loads((data / made.INSTRUCT).read_text("utf-8")).values() for row in rows]
    for row in figures:
        if row["fig_caption"] != "nan":
            yield data / "llava_med/images" / f"{row['pair_id']}.jpg", row["fig_caption"].strip()
    for row in figures:
        if row["in_text_mention"] is not None:
            yield data / "llava_med/images" / f"{row['pair_id']}.jpg", row["in_text_mention"][0]["tokens"].strip()


SAMPLES: dict[str, Callable[[Path], Samples]] = {
    "chexpert": of_lists(made.CHEXPERT, "CheXpert-v1.0-small", lambda captions: joined(captions, "chexpert")),
    "mimic_cxr": mimic_cxr,
    "openi": openi,
    "chestxray8": of_lists(made.CHESTXRAY8, "chest_xray8/images", lambda captions: joined(captions, "chestxray8")),
    "radimagenet": of_lists(
        made.RADIMAGENET, "radimagenet", lambda captions: "".join(f"{c}._radimagenet_" for c in captions)
    ),
    "retina_part1": retina_part1,
    "retina_part2": retina_part2,
    "retina_part3": retina_part3,
    "quilt_1m": quilt_1m,
    "pmc_oa": pmc_oa,
    "rocov2": rocov2,
    "llava_med_alignment": llava_med_alignment,
    "llava_med_instruct": llava_med_instruct,
}
