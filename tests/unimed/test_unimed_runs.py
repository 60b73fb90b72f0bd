"""An output can be built from captions of one's own: from the image and caption shards of runs."""

import pytest

from captioner.errors import ShardError, UsageError
from captioner.shards import ImageItem, build_captions, build_images, export_unimed
from captioner.unimed import OUTPUTS, build, from_runs
from tests.unimed import made
from tests.unimed.conftest import rejected, tars, texts


def make_run(out, count=5, dataset="nih", run="r1", of=lambda i: made.captions("Mass", i)):
    """An output folder with images and a run; ``of`` gives the captions of an image, or none."""
    items = []
    for i in range(count):
        path = out.parent / f"{dataset} images/{i}.{'png' if i % 2 else 'jpg'}"
        made.picture(path, i)
        items.append(ImageItem(f"{dataset}-{i:06d}", path, path.name))
    build_images(items, out / "images", dataset=dataset, per_shard=2)
    build_captions(
        out / "images",
        out / "runs" / run / "captions",
        captions=lambda key: {"captions": of(int(key[-6:])), "labels": ["Mass"], "triplet": key, "run": run},
        run=run,
    )
    return out


def test_the_tars_are_those_of_the_export_of_the_same_run(tmp_path):
    run = make_run(tmp_path / "nih")
    done = build(OUTPUTS["chestxray8"], from_runs(OUTPUTS["chestxray8"], [run]), tmp_path / "out", per_shard=3)
    export_unimed(run / "images", run / "runs/r1/captions", tmp_path / "export", tag="chestxray8", per_shard=3)
    assert tars(done.folder) == tars(tmp_path / "export")
    assert (done.samples, done.rejected) == (5, {})


def test_several_runs_follow_one_another_in_one_output(tmp_path):
    runs = [
        make_run(tmp_path / name, 3, dataset=name, of=lambda i, name=name: made.captions(name, i))
        for name in ("idrid", "stare")
    ]
    done = build(OUTPUTS["retina_part1"], from_runs(OUTPUTS["retina_part1"], runs), tmp_path / "out", per_shard=4)
    assert [text.split()[0] for text in texts(done.folder)] == ["idrid"] * 3 + ["stare"] * 3
    assert done.shards == 2


def test_captions_that_are_too_few_are_repeated_so_that_the_loader_draws_no_empty_one(tmp_path):
    run = make_run(tmp_path / "nih", 1, of=lambda _: ["One.", "Two.", "Three?"])
    done = build(OUTPUTS["chexpert"], from_runs(OUTPUTS["chexpert"], [run]), tmp_path / "out")
    pieces = texts(done.folder)[0].split("_chexpert_")
    assert pieces == [*["One.", "Two.", "Three?."] * 3, "One.", ""]


def test_of_open_i_the_loader_takes_the_first_so_nothing_is_repeated(tmp_path):
    run = make_run(tmp_path / "iu", 1, of=lambda _: ["One.", "Two."])
    done = build(OUTPUTS["openi"], from_runs(OUTPUTS["openi"], [run]), tmp_path / "out")
    assert texts(done.folder) == ["One._openi_Two._openi_"]


def test_radimagenets_captions_get_one_full_stop(tmp_path):
    run = make_run(tmp_path / "rad", 1)
    done = build(OUTPUTS["radimagenet"], from_runs(OUTPUTS["radimagenet"], [run]), tmp_path / "out")
    assert ".._radimagenet_" not in texts(done.folder)[0]


def test_mimics_loader_is_told_that_there_is_no_report(tmp_path):
    run = make_run(tmp_path / "mimic", 1)
    done = build(OUTPUTS["mimic_cxr"], from_runs(OUTPUTS["mimic_cxr"], [run]), tmp_path / "out")
    assert texts(done.folder)[0].split("_mimiccxr_")[-2:] == ["", "noreportpresent"]


def test_an_output_of_single_texts_takes_runs_of_one_caption_an_image(tmp_path):
    run = make_run(tmp_path / "figures", 3, of=lambda i: ["A scan."] if i else ["One.", "Two."])
    done = build(OUTPUTS["pmc_oa"], from_runs(OUTPUTS["pmc_oa"], [run]), tmp_path / "out")
    assert (texts(done.folder), done.rejected) == (["A scan."] * 2, {"several_captions": 1})


def test_images_without_captions_are_left_out_and_listed(tmp_path):
    run = make_run(tmp_path / "nih", 5, of=lambda i: [] if i in (0, 2, 4) else ["A mass."])
    done = build(OUTPUTS["chexpert"], from_runs(OUTPUTS["chexpert"], [run]), tmp_path / "out")
    assert [(row["row"], row["code"]) for row in rejected(done.folder)] == [(n, "no_caption") for n in "135"]
    assert done.samples == 2


def test_a_damaged_image_shard_is_an_error(tmp_path):
    run = make_run(tmp_path / "nih")
    path = run / "images/nih-000001.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match="is damaged"):
        build(OUTPUTS["chexpert"], from_runs(OUTPUTS["chexpert"], [run]), tmp_path / "out")


def test_a_run_is_found_by_its_own_folder_and_must_be_named_where_there_are_several(tmp_path):
    run = make_run(tmp_path / "nih")
    make_run(run, run="r2", of=lambda _: ["Another."])
    with pytest.raises(UsageError, match=r"several runs; name one of them: .*runs/r1, .*runs/r2"):
        from_runs(OUTPUTS["chexpert"], [run])
    done = build(OUTPUTS["chexpert"], from_runs(OUTPUTS["chexpert"], [run / "runs/r2"]), tmp_path / "out")
    assert texts(done.folder)[0].startswith("Another.")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run with caption shards"):
        from_runs(OUTPUTS["chexpert"], [tmp_path])
