"""The small dataset that ``captioner demo`` captions: drawn, not real, and with the faults that real ones have."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from captioner import atomic

SIZE = 224

ROWS = (
    # image, labels, view
    ("chest/cxr_001.png", "cxr_cardiomegaly", "PA"),
    ("chest/cxr_002.png", "cxr_effusion", "AP"),
    ("chest/cxr_003.png", "cxr_cardiomegaly|cxr_effusion", "AP"),
    ("chest/cxr_004.png", "cxr_nodule", "PA"),
    ("chest/cxr_005.png", "cxr_consolidation|cxr_effusion", "AP"),
    ("chest/cxr_006.png", "cxr_normal", "PA"),
    ("chest/cxr_007.png", "cxr_normal", "PA"),
    ("chest/cxr_008.png", "cxr_cardiomegaly", "AP"),
    ("fundus/eye_001.jpg", "dr_0", ""),
    ("fundus/eye_002.jpg", "dr_1", ""),
    ("fundus/eye_003.jpg", "dr_2", ""),
    ("fundus/eye_004.jpg", "dr_3", ""),
    ("fundus/eye_005.jpg", "dr_4", ""),
    ("fundus/eye_006.jpg", "dr_2", ""),
    ("breast/us_001.png", "us_normal", ""),
    ("breast/us_002.png", "us_benign", ""),
    ("breast/us_003.png", "us_malignant", ""),
    ("brain/mri_001.jpg", "mri_tumor", ""),
    ("brain/mri_002.jpg", "mri_no_tumor", ""),
    ("brain/mri_003.jpg", "mri_tumor", ""),
    # What goes wrong in real tables: a finding beside "normal", a label that nobody has described.
    ("chest/cxr_009.png", "cxr_normal|cxr_nodule", "PA"),
    ("chest/cxr_010.png", "cxr_something", "PA"),
)
CORRUPT = "breast/us_003.png"
MISSING = "fundus/eye_006.jpg"


def make_dataset(folder: Path) -> None:
    """Draw the images and write ``labels.csv``: 22 rows, one image cut in half, one that is not there.

    The folder appears whole or not at all.

    Raises:
        OutputError, StorageError: it cannot be written.
    """
    unfinished = folder.with_name(folder.name + atomic.TEMPORARY)
    with atomic.storage(folder):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _fill(unfinished)
        unfinished.rename(folder)


def _fill(folder: Path) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "labels", "view"))
        writer.writerows(ROWS)
    for number, (name, labels, _) in enumerate(ROWS):
        if name == MISSING:
            continue
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(labels.split("|"), seed=number).save(path, quality=92)
        if name == CORRUPT:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def draw(labels: list[str], seed: int) -> Image.Image:
    """Return a picture that hints at its labels; for looking at, not for learning from."""
    rng = np.random.default_rng(seed)
    kind = labels[0].split("_", 1)[0]
    painter = {"cxr": _chest, "dr": _fundus, "us": _breast, "mri": _brain}[kind]
    return painter(set(labels), rng)


def _grey(noise: float, base: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.clip(base + rng.normal(0, noise, (SIZE, SIZE)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _blend(image: Image.Image, shapes: Any, blur: float) -> Image.Image:
    """Paint (box, brightness) ellipses softly over a grey image."""
    for box, shade in shapes:
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).ellipse(box, fill=255)
        image.paste(shade, (0, 0, *image.size), mask.filter(ImageFilter.GaussianBlur(blur)))
    return image


def _chest(labels: set[str], rng: np.random.Generator) -> Image.Image:
    image = _grey(6, 150, rng)
    image = _blend(image, [((30, 25, 105, 190), 45), ((120, 25, 195, 190), 45)], 6)
    wide = 34 if "cxr_cardiomegaly" in labels else 18
    image = _blend(image, [((100 - wide, 100, 128 + wide, 185), 170)], 5)
    if "cxr_effusion" in labels:
        image = _blend(image, [((115, 150, 205, 215), 185)], 8)
    if "cxr_consolidation" in labels:
        image = _blend(image, [((42, 90, 90, 140), 150)], 10)
    if "cxr_nodule" in labels:
        image = _blend(image, [((55, 60, 70, 75), 150)], 2)
    pen = ImageDraw.Draw(image)
    for y in range(35, 180, 24):
        pen.arc((22, y - 30, 106, y + 30), 200, 340, fill=95, width=3)
        pen.arc((118, y - 30, 202, y + 30), 200, 340, fill=95, width=3)
    return image.filter(ImageFilter.GaussianBlur(1))


def _fundus(labels: set[str], rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (SIZE, SIZE), (8, 6, 5))
    pen = ImageDraw.Draw(image)
    pen.ellipse((6, 6, SIZE - 6, SIZE - 6), fill=(190, 86, 38))
    pen.ellipse((146, 92, 178, 124), fill=(247, 206, 130))
    for bend in (-60, -30, 30, 60):
        points = [(162 - t * 1.5, 108 + bend * (t / 90) ** 0.7) for t in range(0, 90, 3)]
        pen.line(points, fill=(126, 32, 22), width=3)
    grade = max(int(label.rsplit("_", 1)[1]) for label in labels)
    for _ in range((0, 5, 16, 34, 34)[grade]):
        x, y = rng.uniform(40, 180, 2)
        r = rng.uniform(1, 1 + grade)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(104, 14, 14))
    if grade == 4:  # new vessels
        for _ in range(12):
            x, y = 150 + rng.uniform(-8, 20, 2)
            pen.arc((x - 20, y - 50, x + 12, y - 22), 0, 300, fill=(140, 10, 20), width=1)
    return image.filter(ImageFilter.GaussianBlur(0.8))


def _breast(labels: set[str], rng: np.random.Generator) -> Image.Image:
    pixels = rng.rayleigh(38, (SIZE, SIZE)) * np.linspace(1.6, 0.6, SIZE)[:, None]
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if "us_benign" in labels:
        image = _blend(image, [((70, 80, 150, 130), 18)], 2)
    if "us_malignant" in labels:
        image = _blend(image, [((80, 70, 120, 130), 12), ((100, 85, 140, 120), 12), ((88, 120, 110, 200), 25)], 4)
    return image.filter(ImageFilter.GaussianBlur(1.2))


def _brain(labels: set[str], rng: np.random.Generator) -> Image.Image:
    image = _grey(3, 8, rng)
    image = _blend(image, [((32, 16, 192, 210), 190), ((38, 22, 186, 204), 70)], 1)
    image = _blend(image, [((50, 34, 174, 192), 120), ((98, 80, 110, 140), 30), ((114, 80, 126, 140), 30)], 4)
    if "mri_tumor" in labels:
        image = _blend(image, [((62, 56, 98, 92), 225)], 3)
    return image
