"""A file with several images becomes one sample each, where such files may be converted at all."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captioner.cli import main
from captioner.demo import make_dataset
from captioner.errors import OutputError
from captioner.shards import (
    Conversion,
    ImageItem,
    Samples,
    build_captions,
    build_images,
    load_captions,
    read_manifest,
    verify,
)
from tests.shards.shard_helpers import RAMP, contents, stamps

TYPES = Conversion(types=True)
FILE = Conversion(types=True, window="file")


def pages(path: Path, *images: Image.Image, **settings: object) -> None:
    images[0].save(path, "TIFF", save_all=True, append_images=images[1:], **settings)


def grey(*values: int) -> list[Image.Image]:
    return [Image.new("L", (8, 6), value) for value in values]


def build(tmp_path, *names, conversion=TYPES, folder="images", **settings):
    items = [ImageItem(f"k-{i}", tmp_path / name, name) for i, name in enumerate(names)]
    return build_images(items, tmp_path / folder, dataset="set", conversion=conversion, **{"per_shard": 4, **settings})


def stored(tmp_path, folder="images"):
    """Key and pixels of every sample."""
    assert verify(tmp_path / folder) == []
    with Samples(tmp_path / folder) as samples:
        return {key: np.asarray(samples[key].open()) for key in samples.keys()}  # noqa: SIM118 - no mapping


class TestPages:
    def test_each_page_of_a_tiff_is_a_sample_behind_each_other(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(10, 20, 30))
        grey(99)[0].save(tmp_path / "b.png")
        report = build(tmp_path, "a.tif", "b.png")
        assert (report.images, report.problems) == (4, ())
        found = stored(tmp_path)
        assert list(found) == ["k-0-f0001", "k-0-f0002", "k-0-f0003", "k-1"]
        assert [values.max() for values in found.values()] == [10, 20, 30, 99]

    def test_the_manifest_says_which_page_of_which_file(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(10, 20))
        grey(99)[0].save(tmp_path / "b.png")
        build(tmp_path, "a.tif", "b.png")
        rows = [(image.source, image.frame, image.frames) for image in read_manifest(tmp_path / "images").images()]
        assert rows == [("a.tif", 1, 2), ("a.tif", 2, 2), ("b.png", None, None)]

    def test_pages_differ_in_size_mode_and_depth(self, tmp_path):
        pages(tmp_path / "a.tif", Image.new("RGB", (9, 5), (1, 2, 3)), Image.fromarray(RAMP), Image.new("1", (3, 3), 1))
        build(tmp_path, "a.tif", conversion=Conversion(types=True, window=(0, 4080)))
        found = stored(tmp_path)
        assert [values.shape for values in found.values()] == [(5, 9, 3), (16, 16), (3, 3)]
        assert found["k-0-f0002"].tolist() == np.rint(RAMP / 16).tolist()

    def test_smaller_copies_and_masks_are_no_images_of_their_own(self, tmp_path):
        thumbnail = Image.new("L", (4, 3), 11)
        thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
        pages(tmp_path / "a.tif", Image.new("L", (40, 30), 10), thumbnail)
        build(tmp_path, "a.tif")
        assert list(stored(tmp_path)) == ["k-0"]

    def test_a_colour_profile_of_one_page_does_not_colour_the_next(self, tmp_path):
        first, second = grey(10, 20)
        first.info["icc_profile"] = b"profile of the first"
        pages(tmp_path / "a.tif", first, second)
        build(tmp_path, "a.tif")
        with Samples(tmp_path / "images") as samples:
            assert samples["k-0-f0001"].open().info.get("icc_profile") == b"profile of the first"
            assert "icc_profile" not in samples["k-0-f0002"].open().info

    def test_they_are_refused_unless_types_are_converted(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(10, 20))
        (problem,) = build(tmp_path, "a.tif", conversion=Conversion()).problems
        assert (problem.code, problem.frame) == ("unsupported_type", None)

    def test_a_bad_page_is_reported_with_its_number_and_the_others_are_written(self, tmp_path):
        noise = [Image.effect_noise((64, 64), 50) for _ in range(3)]
        pages(tmp_path / "a.tif", *noise, compression="tiff_adobe_deflate")
        with Image.open(tmp_path / "a.tif") as image:
            image.seek(1)
            (offset, *_) = image.tag_v2[273]
        content = bytearray((tmp_path / "a.tif").read_bytes())
        content[offset : offset + 64] = bytes(64)
        (tmp_path / "a.tif").write_bytes(content)
        report = build(tmp_path, "a.tif")
        (problem,) = report.problems
        assert (problem.key, problem.source, problem.code, problem.frame) == ("k-0", "a.tif", "corrupt_image", 2)
        assert "image 2 of 3" in problem.reason
        assert list(stored(tmp_path)) == ["k-0-f0001", "k-0-f0003"]
        before = stamps(tmp_path / "images")
        assert build(tmp_path, "a.tif").problems == report.problems
        assert stamps(tmp_path / "images") == before

    def test_what_is_wrong_with_every_page_is_said_once(self, tmp_path):
        pages(tmp_path / "a.tif", Image.fromarray(RAMP), Image.fromarray(RAMP))
        (problem,) = build(tmp_path, "a.tif").problems
        assert (problem.code, problem.frame) == ("unsupported_type", None)
        assert "more than 8 bits" in problem.reason


class TestBuilding:
    def test_a_shard_may_end_within_a_file(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(*range(10)))
        assert build(tmp_path, "a.tif").shards == 3
        assert [values.max() for values in stored(tmp_path).values()] == list(range(10))

    def test_building_again_opens_no_file_and_touches_nothing(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(*range(10)))
        build(tmp_path, "a.tif")
        before = stamps(tmp_path / "images")
        (tmp_path / "a.tif").unlink()
        report = build(tmp_path, "a.tif")
        assert (report.images, report.written, report.problems, report.unlisted) == (10, 0, (), 0)
        assert stamps(tmp_path / "images") == before

    @pytest.mark.parametrize("after", [1, 2])
    def test_an_interruption_within_a_file_ends_with_the_same_bytes(self, tmp_path, after, monkeypatch):
        from captioner.shards.image_shard import ImageShard

        pages(tmp_path / "a.tif", *grey(*range(10)))
        grey(99)[0].save(tmp_path / "b.png")
        build(tmp_path, "a.tif", "b.png", folder="whole")
        begun, real = [], ImageShard.end

        def end(shard):
            begun.append(shard)
            if len(begun) > after:
                raise KeyboardInterrupt
            real(shard)

        monkeypatch.setattr(ImageShard, "end", end)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, "a.tif", "b.png")
        monkeypatch.undo()
        assert build(tmp_path, "a.tif", "b.png").images == 11
        assert contents(tmp_path / "images") == contents(tmp_path / "whole")

    def test_a_key_that_a_page_has_already_is_reported_whatever_comes_first(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(10, 20))
        grey(99)[0].save(tmp_path / "b.png")
        scan, other = (
            ImageItem("k", tmp_path / "a.tif", "a.tif"),
            ImageItem("k-f0002", tmp_path / "b.png", "b.png"),
        )
        for folder, items in (("one", [scan, other]), ("two", [other, scan])):
            report = build_images(items, tmp_path / folder, dataset="set", conversion=TYPES)
            assert report.images == 2
            assert [problem.code for problem in report.problems] == ["duplicate_key"]
        with pytest.raises(OutputError, match="from another file"):
            build_images([other], tmp_path / "one", dataset="set", conversion=TYPES)

    def test_a_key_that_has_no_room_for_the_pages_number_is_reported(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(10, 20))
        item = ImageItem("k" * 78, tmp_path / "a.tif", "a.tif")
        report = build_images([item], tmp_path / "images", dataset="set", conversion=TYPES)
        assert [(p.code, p.frame) for p in report.problems] == [("invalid_key", 1), ("invalid_key", 2)]

    def test_a_manifest_of_before_such_files_were_converted_is_read_and_continued(self, tmp_path):
        grey(99)[0].save(tmp_path / "b.png")
        pages(tmp_path / "a.tif", *grey(10, 20))
        build(tmp_path, "b.png")
        path = tmp_path / "images" / "manifest.parquet"
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["frame", "frames"]), path)
        (image,) = read_manifest(tmp_path / "images").images()
        assert (image.key, image.frame, image.frames) == ("k-0", None, None)
        assert build(tmp_path, "b.png", "a.tif").images == 3
        assert list(stored(tmp_path)) == ["k-0", "k-1-f0001", "k-1-f0002"]


class TestCaptions:
    def test_every_page_has_the_captions_of_its_row(self, tmp_path):
        pages(tmp_path / "a.tif", *grey(*range(5)))
        grey(99)[0].save(tmp_path / "b.png")
        build(tmp_path, "a.tif", "b.png")
        asked = []

        def record(key):
            asked.append(key)
            return {"captions": [f"A caption of {key}."], "labels": ["x"], "triplet": key, "run": "r1"}

        build_captions(tmp_path / "images", tmp_path / "captions", captions=record, run="r1")
        assert set(asked) == {"k-0", "k-1"}
        assert verify(tmp_path / "captions", images=tmp_path / "images") == []
        found = load_captions(tmp_path / "captions/set-000000.tar") | load_captions(
            tmp_path / "captions/set-000001.tar"
        )
        assert list(found) == [*(f"k-0-f000{i}" for i in range(1, 6)), "k-1"]
        assert {r["captions"][0] for key, r in found.items() if key != "k-1"} == {"A caption of k-0."}

    def test_from_the_table_to_the_caption_shards(self, tmp_path, monkeypatch, capsys):
        """A bad page is a reject with its row; the other pages of the file have captions."""
        make_dataset(tmp_path / "data")
        one, another = sorted((tmp_path / "data").rglob("*.png"))[:2]
        pages(one, *grey(10, 20, 30))
        pages(another, Image.new("L", (8, 6), 5), Image.fromarray(RAMP))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(
            "sys.argv", ["captioner", "run", "demo", "--data", "data", "--out", "out", "--set", "shards.types=true"]
        )
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, capsys.readouterr().err
        images = list(read_manifest(tmp_path / "out/images").images())
        assert [image.frame for image in images].count(None) == len(images) - 4
        (run,) = (tmp_path / "out/runs").iterdir()
        keys = [key for path in sorted((run / "captions").glob("*.tar")) for key in load_captions(path)]
        assert keys == [image.key for image in images]
        rejects = (tmp_path / "out/rejected_rows.csv").read_text()
        assert "image 2 of 2" in rejects


class TestDicom:
    VOLUME = np.stack([RAMP, RAMP // 2, RAMP // 4])

    def test_each_frame_is_a_sample_and_nothing_of_the_patient_goes_along(self, tmp_path, dicom):
        build(tmp_path, dicom(self.VOLUME), conversion=Conversion(types=True, window=(0, 4080)))
        found = stored(tmp_path)
        assert list(found) == ["k-0-f0001", "k-0-f0002", "k-0-f0003"]
        for values, frame in zip(found.values(), self.VOLUME, strict=True):
            assert np.abs(values - frame / 16.0).max() <= 0.5
        for path in (tmp_path / "images").iterdir():
            assert b"Jane" not in path.read_bytes()

    def test_black_on_white_is_turned_round_in_every_frame(self, tmp_path, dicom):
        name = dicom(self.VOLUME, PhotometricInterpretation="MONOCHROME1")
        build(tmp_path, name, conversion=Conversion(types=True, window="range"))
        assert [(v[0, 0], v[-1, -1]) for v in stored(tmp_path).values()] == [(255, 0)] * 3

    def test_a_frame_has_the_window_and_rescaling_of_its_own_group_before_the_shared_one(self, tmp_path, dicom):
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence

        def group(center=None, width=None, slope=None):
            made = Dataset()
            if center is not None:
                made.FrameVOILUTSequence = Sequence([Dataset()])
                made.FrameVOILUTSequence[0].WindowCenter, made.FrameVOILUTSequence[0].WindowWidth = center, width
                made.FrameVOILUTSequence[0].VOILUTFunction = "LINEAR_EXACT"
            if slope is not None:
                made.PixelValueTransformationSequence = Sequence([Dataset()])
                made.PixelValueTransformationSequence[0].RescaleSlope = slope
                made.PixelValueTransformationSequence[0].RescaleIntercept = 0
            return made

        name = dicom(
            np.stack([RAMP, RAMP, RAMP]),
            SharedFunctionalGroupsSequence=Sequence([group(2040, 4080)]),
            PerFrameFunctionalGroupsSequence=Sequence([group(), group(1020, 2040), group(slope=0.5)]),
        )
        build(tmp_path, name, conversion=FILE)
        shared, own, rescaled = stored(tmp_path).values()
        assert np.abs(shared - RAMP / 16.0).max() <= 0.5
        assert np.abs(own - np.clip(RAMP / 8.0, 0, 255)).max() <= 0.5
        assert np.abs(rescaled - RAMP / 32.0).max() <= 0.5

    def test_a_damaged_frame_is_reported_and_the_others_are_written(self, tmp_path, dicom):
        from pydicom.encaps import encapsulate
        from pydicom.uid import JPEGBaseline8Bit

        frames = []
        for value in (10, 20, 30):
            buffer = io.BytesIO()
            Image.new("L", (16, 16), value).save(buffer, "JPEG")
            frames.append(buffer.getvalue())
        frames[1] = b"no JPEG at all, " * 8
        values = np.zeros((3, 16, 16), np.uint8)
        name = dicom(values, 8, syntax=JPEGBaseline8Bit, PixelData=encapsulate(frames))
        report = build(tmp_path, name)
        assert [(p.source, p.code, p.frame) for p in report.problems] == [("a.dcm", "corrupt_image", 2)]
        found = stored(tmp_path)
        assert {key: round(values.mean()) for key, values in found.items()} == {"k-0-f0001": 10, "k-0-f0003": 30}

    def test_half_a_file_is_reported_once(self, tmp_path, dicom):
        path = tmp_path / dicom(self.VOLUME)
        path.write_bytes(path.read_bytes()[:-700])
        report = build(tmp_path, "a.dcm", conversion=Conversion(types=True, window="range"))
        assert [(p.code, p.frame) for p in report.problems] == [("corrupt_image", None)]

    def test_conversions_give_the_same_bytes_each_time(self, tmp_path, dicom):
        name = dicom(self.VOLUME)
        for folder in ("one", "two"):
            build(tmp_path, name, conversion=Conversion(types=True, window="range"), folder=folder)
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
