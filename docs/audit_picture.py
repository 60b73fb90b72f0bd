"""Draw docs/audit.png, the picture of an audit in the README, from the demo's drawings and captions with planted faults.

usage: python docs/audit_picture.py docs/audit.png      (needs Chromium; run in the repository's root)
"""

import base64
import contextlib
import csv
import io
import json
import random
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioner.audit import audit
from captioner.demo import make_dataset
from captioner.report import write_report
from captioner.schema import load_schema
from captioner.tables import Labels
from captioner.triplets import make_triplet
from captioner.writer import write_captions
from tests.report.browser import Browser


def faulty(caption: str, name: str, draw: random.Random) -> str:
    faults = (
        lambda: caption.rstrip(".") + draw.choice((" and a lung nodule.", " with pulmonary edema.", " and a mass.")),
        lambda: f"Possible {name}, to be confirmed.",
        lambda: f"Image of a 63-year-old man: {caption[:1].lower()}{caption[1:]}",
        lambda: f"There is no {name}.",
        lambda: "CT of the abdomen. " + caption,
        lambda: f"I am sorry, but I cannot describe {name}.",
        lambda: caption.rstrip(".") + ", measuring 14 mm in the left upper quadrant.",
    )
    return draw.choices(faults, (5, 4, 4, 3, 1, 1, 3))[0]()


def make_captions(data: Path) -> Path:
    schema, draw = load_schema("demo"), random.Random(5)
    target = data / "captions.jsonl"
    with (data / "labels.csv").open(encoding="utf-8") as table, target.open("w", encoding="utf-8") as out:
        for row in csv.DictReader(table):
            codes = [c for c in row["labels"].split("|") if c in schema]
            if len(codes) != 1 and any(schema[c].kind == "normal" for c in codes):
                continue  # the demo's table has rows that contradict themselves, to show what becomes of them
            if not codes or not (data / "images" / row["image"]).is_file():
                continue
            for engine, share in (("model-a", 0.22), ("model-b", 0.08)):
                triplet = make_triplet(schema, Labels(tuple(codes)))
                texts = write_captions(schema, triplet, 10, seed=draw.randrange(10**6))
                texts = [faulty(t, schema[codes[0]].name, draw) if draw.random() < share else t for t in texts]
                image = f"images/{row['image']}"
                out.write(json.dumps({"labels": codes, "captions": texts, "image": image, "engine": engine}) + "\n")
    return target


def pictures(page: Path) -> list[Image.Image]:
    browser = Browser()
    try:
        browser.size(1180, 1000)
        browser.scheme("light")
        browser.open(page)
        browser.js("document.querySelectorAll('.example').forEach(e => { e.style.contentVisibility = 'visible'; })")
        browser.js("Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); }))")
        browser.js("document.querySelector('nav').style.position = 'static'")
        browser.js("document.querySelector('.filters').style.position = 'static'")
        top = browser.js("document.querySelector('#heat').getBoundingClientRect().bottom + scrollY + 8")
        first = browser.js("document.querySelector('#examples').getBoundingClientRect().top + scrollY - 12")
        room = first + top - 34  # only examples that fit as a whole
        browser.js(
            f"document.querySelectorAll('.example').forEach(e => {{"
            f" if (e.getBoundingClientRect().bottom + scrollY > {room}) e.style.display = 'none'; }})"
        )
        browser.js("document.querySelector('#examples ~ section').style.visibility = 'hidden'")
        parts = []
        for y, height in ((0, top), (first, top)):
            clip = {"x": 0, "y": y, "width": 1180, "height": height, "scale": 1}
            shot = browser.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
            parts.append(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))
        return parts
    finally:
        browser.close()


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "demo"
        make_dataset(data)
        with contextlib.chdir(make_captions(data).parent):
            found = audit("captions.jsonl", "demo")
        parts = pictures(write_report(found, Path(name) / "report").html)
    height = min(p.height for p in parts)
    whole = Image.new("RGB", (sum(p.width for p in parts), height), "white")
    for i, part in enumerate(parts):
        whole.paste(part, (i * parts[0].width, 0))
    small = whole.resize((1560, round(1560 * height / whole.width)), Image.Resampling.LANCZOS)
    small.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2).save(target, optimize=True)


if __name__ == "__main__":
    main()
