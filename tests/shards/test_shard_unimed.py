"""UniMed's training loader, unmodified, reads image shards and their captions through the URL scheme.

Needs torch and open_clip_torch, webdataset 0.2.86, which the loader is written for, and a checkout of mbzuai-oryx/UniMed-CLIP:
set CAPTIONER_UNIMED to its folder.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

if not os.environ.get("CAPTIONER_UNIMED"):
    pytest.skip("needs a checkout of mbzuai-oryx/UniMed-CLIP: set CAPTIONER_UNIMED", allow_module_level=True)
pytest.importorskip("torch", reason="needs torch and open_clip_torch")
webdataset = pytest.importorskip("webdataset", reason="needs webdataset 0.2.86")
if not webdataset.__version__.startswith("0.2."):
    pytest.skip("UniMed's loader needs webdataset 0.2.86", allow_module_level=True)

from captioner.shards import ImageItem, build_captions, build_images  # noqa: E402

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CHECKOUT = Path(os.environ["CAPTIONER_UNIMED"]).resolve()
COUNT = 12
SHOWN = re.search(
    r"^```python\n(# run_configs_400m\.py.*?)^```$",
    (REPOSITORY / "docs/shards.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
EPOCHS = """
import json, sys
from tests.shards.test_shard_loaders import open_clip_data
open_clip_data()  # makes torchvision importable beside whatever build of torch there is
import torch
torch.manual_seed(0)
from configs import search_config
from training import data

def keep(texts):  # in place of a tokenizer that would have to be downloaded
    return [torch.tensor(list(text.encode().ljust(100, b" ")), dtype=torch.uint8) for text in texts]

def grey(image):
    return torch.tensor(image.getpixel((0, 0))[0])

data.set_tokenizer_value = lambda *_: setattr(data, "tokenizer", keep)
config = search_config(sys.argv[1])
config.world_size, config.workers, config.batch_size = 1, 2, 3
info = data.get_data(config, (grey, grey))["train"]
for epoch in range(3):
    info.set_epoch(epoch)
    batches = [zip(images, texts) for images, texts in info.dataloader]
    print(json.dumps([(int(image), bytes(text).decode().strip()) for batch in batches for image, text in batch]), flush=True)
"""


@pytest.fixture
def work(tmp_path):
    """A folder with ``OUT`` (twelve images as grey as their number, in four shards, and two runs), and UniMed's code."""
    items = []
    for i in range(COUNT):
        Image.new("L", (16, 16), i).save(tmp_path / f"{i}.png")
        items.append(ImageItem(f"chestxray14-{i:06d}", tmp_path / f"{i}.png", f"{i}.png"))
    build_images(items, tmp_path / "OUT/images", dataset="chestxray14", per_shard=3)
    for run, number in (("RUN", 14), ("FEW", 3)):
        build_captions(
            tmp_path / "OUT/images",
            tmp_path / f"OUT/runs/{run}/captions",
            captions=lambda key, run=run, number=number: {
                "captions": [f"{run} {int(key[-6:])} {n}" for n in range(number)],
                "labels": ["x"],
                "triplet": key,
                "run": run,
            },
            run=run,
        )
    for path in CHECKOUT.iterdir():
        if path.name != "run_configs_400m.py":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "epochs.py").write_text(EPOCHS)
    return tmp_path


def epochs(work, config, changes=str):
    """Grey and text of each sample of three epochs, trained on with a config class that is added to UniMed's own."""
    own = (CHECKOUT / "run_configs_400m.py").read_text()
    shown = SHOWN[1].replace("..000112}", "..000003}").replace("112120", str(COUNT))
    (work / "run_configs_400m.py").write_text(own + "\n" + changes(shown))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "captioner.shards.scheme", "epochs", config],
        cwd=work,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(found) == 3, f"{done.returncode}: {done.stdout}{done.stderr}"
    return found


def test_what_the_documentation_shows_trains_on_every_image_with_a_caption_of_its_own_anew_each_epoch(work):
    found = epochs(work, "b16_nih")
    for epoch in found:
        assert sorted(grey for grey, _ in epoch) == list(range(COUNT))
        assert all(text.split()[:2] == ["RUN", str(grey)] for grey, text in epoch)
    assert found[0] != found[1] != found[2]
    assert max(int(text.split()[2]) for epoch in found for _, text in epoch) >= 10  # of all its captions, not of ten


@pytest.mark.parametrize("form", ["", "&form=joined:chestxray8"])
def test_a_run_with_few_captions(work, form):
    """As single captions none is ever empty, which the joined form of its own scripts cannot promise."""
    found = epochs(work, "b16_nih", lambda text: text.replace("?run=RUN", f"?run=FEW{form}"))
    texts = [(grey, text) for epoch in found for grey, text in epoch]
    assert len(texts) == 3 * COUNT
    for grey, text in texts:
        allowed = {f"FEW {grey} {n}" for n in range(3)}
        assert text in (allowed if not form else {f"{each}." for each in allowed} | {""})


def test_drawn_with_replacement_and_weights(work):
    found = epochs(
        work,
        "b16_nih",
        lambda text: (
            text.replace('?run=RUN"', '?run=RUN::captioner:OUT/images/chestxray14-{000000..000003}.tar?run=FEW"')
            + '    dataset_resampled = True\n    train_data_upsampling_factors = "1::2"\n'
        ),
    )
    texts = [(grey, text) for epoch in found for grey, text in epoch]
    assert {text.split()[0] for _, text in texts} == {"RUN", "FEW"}
    assert all(text.split()[1] == str(grey) for grey, text in texts)
