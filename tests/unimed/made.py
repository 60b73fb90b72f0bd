"""A $DATA as UniMed's documentation lays it out, with a few samples of each of its thirteen outputs."""

import csv
import json
from pathlib import Path

from PIL import Image

COUNT = 7

CHEXPERT = "CheXpert-v1.0-small/chexpert_with_captions_only_frontal_view.csv"
MIMIC = "mimic-cxr-jpg/2.0.0/files/mimic_cxr_with_captions_and_reports_only_frontal_view.csv"
OPENI = ("openi/filter_cap.json", "openi/openai_refined_concepts.json")
CHESTXRAY8 = "chest_xray8/Chest-Xray8_with_captions.csv"
RADIMAGENET = "radimagenet/radiology_ai/radimagenet_with_captions_training_set.csv"
RETINA = "Retina-Datasets/Retina-Annotations"
QUILT = "Quilt/quilt_1M_lookup.csv"
PMC = "pmc_oa/pmc_oa.jsonl"
ROCO = "ROCOV2/train_captions.csv"
ALIGNMENT = "llava_med/llava_med_alignment_500k_filtered.json"
INSTRUCT = "llava_med/llava_med_instruct_fig_captions.json"


def picture(path: Path, number: int) -> None:
    """Write a small image of a colour of its own; the type follows from the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (number * 37 % 256, number * 91 % 256, number * 13 % 256)
    image = Image.new("RGB", (8 + number % 5, 6), colour)
    (image if number % 2 else image.convert("L")).save(path)


def captions(what: str, number: int, count: int = 10) -> list[str]:
    """Captions with what captions have in them: full stops or none, quotes, commas, letters beyond ASCII."""
    ends = (".", "", "...", "?", '" quoted, twice', " und größer", "'s", ".", "", ".")
    return [f"{what} {number}, caption {i}{ends[i % 10]}" for i in range(count)]


def table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def document(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def make_data(data: Path) -> Path:
    """Make the whole folder; return it."""
    lists(data / CHEXPERT, data / "CheXpert-v1.0-small", "train/patient{:05d}/study1/view1_frontal.jpg", "Edema")
    lists(data / CHESTXRAY8, data / "chest_xray8/images", "{:08d}_000.png", "Mass")
    lists(data / RADIMAGENET, data / "radimagenet", "radiology_ai/MR/brain/{}.png", "glioma")
    mimic(data)
    openi(data)
    retina(data)
    image_text(data)
    llava(data)
    return data


def lists(path: Path, images: Path, name: str, what: str) -> None:
    rows: list[list[object]] = []
    for i in range(COUNT):
        picture(images / name.format(i), i)
        rows.append([repr([name.format(i)]), repr([what]), repr(captions(what, i))])
    table(path, ["image", "labels", "captions"], rows)


def mimic(data: Path) -> None:
    rows: list[list[object]] = []
    for i in range(COUNT):
        name = f"2.0.0/files/p10/p100{i:05d}/s5{i:07d}/{i:08x}.jpg"
        picture(data / "mimic-cxr-jpg" / name, i)
        report = ["", "nan", 'FINDINGS:\nThe heart is large.\r\n\n  IMPRESSION: "as before", see ___.\n'][i % 3]
        rows.append([repr([name]), repr(["Edema"]), repr(captions("Edema", i, 0 if i == 5 else 10)), report])
    table(data / MIMIC, ["image", "labels", "captions", "report"], rows)


def openi(data: Path) -> None:
    names = [f"CXR{i}_IM-{i:04d}-1001" for i in range(COUNT)]
    for i, name in enumerate(names):
        picture(data / "openi/image" / f"{name}.png", i)
    originals = [
        {"image_id": name, "id": i, "caption": f"Report {i}. No focal “opacity”."} for i, name in enumerate(names)
    ]
    document(data / OPENI[0], {"info": {"version": [1]}, "annotations": originals})
    document(data / OPENI[1], {"refined_captions": [captions("refined", i, 3) for i in range(COUNT)]})


def retina(data: Path) -> None:
    folder = data / RETINA
    for number, (name, count) in enumerate((("03_IDRiD", 3), ("08_ODIR-5K", 4), ("11_STARE", 1))):
        rows: list[list[object]] = []
        for i in range(count):
            image = f"{name}/image {i}.{('jpg', 'tif', 'png')[number]}"
            picture(data / "Retina-Datasets" / image, i + 10 * number)
            sentence = "A fundus photograph with a long, long sentence."
            rows.append([i, image, "{}", repr(captions(name, i)), sentence])
        table(folder / f"{name}.csv", ["", "filename", "labels", "captions", "sentence_level_captions"], rows)
    for name in ("28_OIA-DDR_revised", "07_LAG_revised", "01_EYEPACS_revised"):
        table(folder / f"{name}.csv", ["image", "atributes", "categories"], [["none.jpg", "[]", "['DR']"]])
    rows = []
    kinds = (
        ["retina with drusen"],
        ["60-year-old man", "optic disc // cup", "macular hole/"],
        ["drusen", "scar", "83-year-old"],
        ["45-year-old woman"],
    )
    for i in range(COUNT):
        picture(data / "Retina-Datasets" / f"06_DEN/{i}.jpg", i)
        rows.append([i, f"06_DEN/{i}.jpg", "[]", repr(kinds[i % 4])])
    table(folder / "06_DEN.csv", ["", "image", "atributes", "categories"], rows)
    rows = []
    for i in range(COUNT):
        picture(data / "Retina-Datasets" / f"39_MM_Retinal_dataset/CFP/{i}.png", i)
        rows.append([f"39_MM_Retinal_dataset/CFP/{i}.png", f" Drusen {i}, as written \n" if i != 4 else ""])
    table(folder / "39_MM_Retinal_dataset.csv", ["image", "caption"], rows)


def image_text(data: Path) -> None:
    rows: list[list[object]] = []
    for i in range(COUNT):
        if i != 2:  # one image is missing
            picture(data / f"Quilt/quilt_1m/{i}.jpg", i)
        rows.append([i, ["  A nest of cells.\n\n", "", "Größe, “stain”"][i % 3], f"{i}.jpg", "quilt", "train"])
    table(data / QUILT, ["", "caption", "image_path", "subset", "split"], rows)
    rows = []
    lines = []
    for i in range(COUNT):
        picture(data / f"ROCOV2/train/ROCOv2_2023_train_{i:06d}.jpg", i)
        rows.append([f"ROCOv2_2023_train_{i:06d}", f" CT of slice {i}\n"])
        name = f"PMC{i}_Fig{i}_1.jpg"
        picture(data / "pmc_oa/caption_T060_filtered_top4_sep_v0_subfigures" / name, i)
        lines.append(json.dumps({"image": name, "caption": f"\n Panel {i}: größer. ", "pmcid": f"PMC{i}"}) + "\n")
    table(data / ROCO, ["ID", "Caption"], rows)
    (data / PMC).write_text("".join(lines), encoding="utf-8")


def llava(data: Path) -> None:
    images = data / "llava_med/images"
    for i in range(COUNT):
        if i != 3:
            picture(images / f"{i}_F{i}.jpg", i)
    talks = [
        {
            "id": f"{i}_F{i}",
            "image": f"{i}_F{i}.jpg",
            "domain": {"chest_xray": True},
            "conversations": [
                {"from": "human", "value": "<image>\nDescribe it."},
                {"from": "gpt", "value": f" Figure {i}: “X-ray”.\n"},
            ],
        }
        for i in range(COUNT)
    ]
    document(data / ALIGNMENT, talks)
    figures = [
        {
            "pair_id": f"{i}_F{i}",
            "fig_caption": f"Caption {i}. " if i != 1 else "nan",
            "in_text_mention": [{"tokens": f" see figure {i} \n"}, {"tokens": "again"}] if i % 2 else None,
        }
        for i in range(COUNT)
    ]
    document(data / INSTRUCT, {"chest_xray": figures[:4], "mri": figures[4:], "empty": []})
