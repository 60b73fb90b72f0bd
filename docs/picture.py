"""Draw docs/demo.png, the picture in the README, from the output of ``captioner demo``.

usage: python docs/picture.py demo/out docs/demo.png
"""

import io
import sys
import tarfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from captioner.shards import load_captions

KEYS = ("demo-chest-cxr_003", "demo-fundus-eye_003", "demo-breast-us_002", "demo-brain-mri_001")
TILE, TEXT, GAP = 170, 790, 14
INK, DIM, PAPER = (28, 32, 40), (110, 118, 130), (255, 255, 255)


def samples(out: Path) -> dict[str, tuple[bytes, dict[str, object]]]:
    (run, *_) = sorted((out / "runs").iterdir())
    found = {}
    for shard in sorted((out / "images").glob("*.tar")):
        captions = load_captions(run / "captions" / shard.name)
        with tarfile.open(shard) as archive:
            for member in archive:
                key = member.name.split(".")[0]
                found[key] = (archive.extractfile(member).read(), captions[key])
    return found


def main() -> None:
    out, target = Path(sys.argv[1]), Path(sys.argv[2])
    found = samples(out)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    page = Image.new("RGB", (TILE + TEXT + 3 * GAP, len(KEYS) * (TILE + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for row, key in enumerate(KEYS):
        data, record = found[key]
        y = GAP + row * (TILE + GAP)
        page.paste(Image.open(io.BytesIO(data)).convert("RGB").resize((TILE, TILE)), (GAP, y))
        x = 2 * GAP + TILE
        pen.text((x, y), f"{key}   labels: {', '.join(record['labels'])}", font=small, fill=DIM)
        for i, caption in enumerate(record["captions"][:5]):
            line = textwrap.shorten(caption, 110, placeholder="…")
            pen.text((x, y + 26 + i * 24), line, font=font, fill=INK)
        pen.text((x, y + 26 + 5 * 24), f"and {len(record['captions']) - 5} more", font=small, fill=DIM)
    page.save(target, optimize=True)


if __name__ == "__main__":
    main()
