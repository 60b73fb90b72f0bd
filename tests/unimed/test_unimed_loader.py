"""UniMed's training loader, unmodified, reads the outputs: those from its annotations, and those from a run.

Needs torch, open_clip_torch and webdataset 0.2.86, which the loader is written for, and a checkout of
mbzuai-oryx/UniMed-CLIP: set CAPTIONER_UNIMED to its folder.
"""

import gc
import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest

if not os.environ.get("CAPTIONER_UNIMED"):
    pytest.skip("needs a checkout of mbzuai-oryx/UniMed-CLIP: set CAPTIONER_UNIMED", allow_module_level=True)
torch = pytest.importorskip("torch", reason="needs torch and open_clip_torch")
webdataset = pytest.importorskip("webdataset", reason="needs webdataset 0.2.86")
if not webdataset.__version__.startswith("0.2."):
    pytest.skip("UniMed's loader needs webdataset 0.2.86", allow_module_level=True)

from captioner.unimed import OUTPUTS, build, from_runs  # noqa: E402
from tests.shards.test_shard_loaders import open_clip_data  # noqa: E402
from tests.unimed import made  # noqa: E402
from tests.unimed.rules import SAMPLES  # noqa: E402
from tests.unimed.test_unimed_runs import make_run  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def loader():
    """The module of the training loader, with a tokenizer that keeps the text as it is."""
    open_clip_data()  # makes torchvision importable beside whatever build of torch there is
    path = Path(os.environ["CAPTIONER_UNIMED"]) / "src/training/data.py"
    spec = importlib.util.spec_from_file_location("unimed_training_data", path)
    module = importlib.util.module_from_spec(spec)
    own_clip = types.ModuleType(
        "open_clip"
    )  # the one of its own, of which it takes the tokenizer that is replaced below
    own_clip.HFTokenizer = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "open_clip", own_clip)
        spec.loader.exec_module(module)

    def keep(texts):
        return [torch.tensor(list(text.encode()[:400].ljust(400, b"\0")), dtype=torch.uint8) for text in texts]

    module.set_tokenizer_value = lambda *_: setattr(module, "tokenizer", keep)
    return module


def drawn(loader, shards, count, weights=None):
    """The texts that the loader gives in an epoch of training."""
    arguments = types.SimpleNamespace(
        train_data=shards,
        train_num_samples=count,
        train_data_upsampling_factors=weights,
        dataset_resampled=weights is not None,
        tokenizer_context_length=77,
        text_encoder_model_name="none",
        seed=0,
        batch_size=1,
        workers=1,
        world_size=1,
    )
    info = loader.get_wds_dataset(arguments, lambda image: torch.tensor(image.getpixel((0, 0))), is_train=True)
    texts = [bytes(text).rstrip(b"\0").decode(errors="ignore") for _, batch in info.dataloader for text in batch]
    gc.collect()
    return texts


def pieces(text):
    """What the loader may make of a text, by its own rules as they are meant."""
    for output in OUTPUTS.values():
        mark = f"_{output.tag}_"
        if mark in text:
            found = text.split(mark)
            if output.name == "openi":
                return found[:1]
            if output.name == "mimic_cxr":
                return found[:10] if found[-1] == "noreportpresent" else found[-1:]
            return found[:10]
    return [text]


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_sample_of_an_output_is_trained_on(loader, name, whole_data, built):
    done = built(whole_data, name, per_shard=3)
    shards = f"{done.folder}/dataset-{{000001..{done.shards:06d}}}.tar"
    texts = drawn(loader, shards, done.samples)
    stored = [text for path, text in SAMPLES[name](whole_data) if path.exists()]
    allowed = [{piece.encode()[:400].decode(errors="ignore").rstrip("\0") for piece in pieces(text)} for text in stored]
    assert len(texts) == done.samples == len(stored)
    assert all("" not in each for each in allowed)
    for text in texts:
        assert any(text in each for each in allowed)
    assert all(any(text in each for text in texts) for each in allowed)


def test_outputs_are_mixed_by_weight_though_their_tars_have_equal_names(loader, whole_data, built):
    parts = [built(whole_data, name, per_shard=3) for name in ("rocov2", "chestxray8")]
    shards = "::".join(f"{part.folder}/dataset-{{000001..{part.shards:06d}}}.tar" for part in parts)
    texts = drawn(loader, shards, 60, weights="1::3")
    assert len(texts) == 60
    assert {text.split()[0] for text in texts} == {"CT", "Mass"}


@pytest.mark.parametrize("count", [1, 3, 9, 10, 14])
def test_of_a_run_each_text_is_a_caption_however_many_there_are(loader, tmp_path, count):
    run = make_run(tmp_path / "nih", 4, of=lambda i: made.captions("Mass", i, count))
    done = build(OUTPUTS["chestxray8"], from_runs(OUTPUTS["chestxray8"], [run]), tmp_path / "out")
    texts = [text for _ in range(5) for text in drawn(loader, f"{done.folder}/dataset-{{000001..000001}}.tar", 4)]
    wanted = {caption.strip(".") + "." for i in range(4) for caption in made.captions("Mass", i, count)}
    assert set(texts) <= wanted
