"""The data pipelines that people train with read our shards unchanged: open_clip's, PyTorch's, Hugging Face's.

Needs torch, open_clip_torch and datasets in the environment: heavy, so these tests skip without them.
"""

import contextlib
import gc
import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch, open_clip_torch and datasets")

from PIL import Image  # noqa: E402

from captioner.shards import (  # noqa: E402
    ImageItem,
    Samples,
    build_captions,
    build_images,
    export_tars,
    join_captions,
    scheme,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNT = 40
OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
REPOSITORY = Path(__file__).parents[2]


def captions_of(key):
    return [f"{int(key[-6:])} caption {n}" for n in range(10)]


@pytest.fixture
def out(tmp_path):
    """Forty images in four shards, as grey as their number, and a run."""
    items = []
    for i in range(COUNT):
        Image.new("L", (16, 16), i).save(tmp_path / f"{i}.png")
        items.append(ImageItem(f"set-{i:06d}", tmp_path / f"{i}.png", f"{i}.png"))
    build_images(items, tmp_path / "OUT/images", dataset="set", per_shard=10)
    build_captions(
        tmp_path / "OUT/images",
        tmp_path / "OUT/runs/RUN/captions",
        captions=lambda key: {"captions": captions_of(key), "labels": ["x"], "triplet": key, "run": "RUN"},
        run="RUN",
    )
    yield tmp_path / "OUT"
    gc.collect()


def open_clip_data():
    """Import open_clip's data pipeline, beside whatever build of torchvision there is."""
    with contextlib.suppress(RuntimeError):
        return pytest.importorskip("open_clip_train.data")
    # The operators of a torchvision that was built for GPUs are not loaded beside a torch that was not. open_clip uses
    # none of them, but torchvision takes two to be there when it is imported.
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.partition(".")[0] in {"torchvision", "open_clip"}]:
        del sys.modules[name]
    return importlib.import_module("open_clip_train.data")


def open_clip_epochs(url, resampled):
    """Image's grey and caption's two numbers of each sample of two epochs of open_clip's own training data."""
    data = open_clip_data()
    arguments = types.SimpleNamespace(
        train_data=url,
        train_num_samples=COUNT,
        train_data_upsampling_factors=None,
        dataset_resampled=resampled,
        seed=0,
        batch_size=5,
        workers=2,
        world_size=1,
        distributed=False,
    )

    def tokens(text):
        number, _, draw = text.split()
        return torch.tensor([[int(number), int(draw)]])

    def grey(image):
        return torch.tensor(image.convert("RGB").getpixel((0, 0))[0])

    info = data.get_wds_dataset(arguments, grey, is_train=True, tokenizer=tokens)
    epochs = []
    for epoch in range(2):
        info.set_epoch(epoch)
        epochs.append(
            [
                (int(image), *map(int, text.reshape(-1)))
                for images, texts in info.dataloader
                for image, text in zip(images, texts, strict=True)
            ]
        )
    return epochs


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("way", ["scheme", "pipe"])
def test_open_clips_own_data_pipeline(out, way, resampled):
    url = f"captioner:{out}/images/set-{{000000..000003}}.tar?run=RUN"
    if way == "pipe":
        code = (
            f'import sys; sys.path.insert(0, "{REPOSITORY}"); from captioner.shards.scheme import copy_url; '
            "copy_url(sys.argv[1], sys.stdout.buffer)"
        )
        url = f"pipe:{sys.executable} -c '{code}' '{url}'"
    else:
        scheme.register()
    first, second = open_clip_epochs(url, resampled)
    assert len(first) == len(second) == COUNT
    for grey, number, draw in first + second:
        assert grey == number
        assert 0 <= draw < 10
    assert {n: d for _, n, d in first} != {n: d for _, n, d in second}
    if not resampled:
        assert sorted(number for _, number, _ in first) == list(range(COUNT))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_joined_captions_in_the_workers_of_a_loader(out, context):
    import webdataset

    pipeline = (
        webdataset.WebDataset(f"{out}/images/set-{{000000..000003}}.tar", shardshuffle=3)
        .compose(join_captions(f"{out}/runs/RUN/captions"))
        .shuffle(10)
        .decode()
        .to_tuple("__key__", "captions.json")
    )
    loader = torch.utils.data.DataLoader(pipeline, batch_size=None, num_workers=2, multiprocessing_context=context)
    found = {key: record["captions"] for key, record in loader}
    assert found == {f"set-{i:06d}": captions_of(f"set-{i:06d}") for i in range(COUNT)}


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_samples_are_a_map_style_data_set(out, context):
    with Samples(out / "images", out / "runs/RUN/captions") as samples:
        loader = torch.utils.data.DataLoader(
            samples, batch_size=None, shuffle=True, num_workers=2, multiprocessing_context=context
        )
        keys = samples.keys()
        assert {s.key: s.captions for s in loader} == {key: captions_of(key) for key in keys}


def test_hugging_faces_datasets_read_image_shards_and_exported_tars(out, tmp_path):
    pytest.importorskip("datasets")
    export_tars(out / "images", out / "runs/RUN/captions", out / "plain", form="json")
    code = (
        "import sys, datasets\n"
        "for folder in sys.argv[1:]:\n"
        "    data = datasets.load_dataset('webdataset', data_files={'train': folder + '/*.tar'}, split='train')\n"
        "    print(len(data), sorted(c for c in data.column_names if not c.startswith('_')),\n"
        "          all(r['png'].getpixel((0, 0)) == int(r['__key__'][-6:]) for r in data),\n"
        "          all(r['json']['captions'][3] == str(int(r['__key__'][-6:])) + ' caption 3' for r in data if 'json' in r))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, out / "images", out / "plain"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{COUNT} ['png'] True True", f"{COUNT} ['json', 'png'] True True"], done.stderr
