"""Images are changed only where that was asked for, and then as it was asked for."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from captioner.errors import OutputError
from captioner.shards import Conversion, ImageItem, Samples, build_images, verify
from tests.shards.shard_helpers import RAMP


def build(tmp_path, name, conversion=None, folder="images"):
    items = [ImageItem("k-1", tmp_path / name, name)]
    given = {} if conversion is None else {"conversion": conversion}
    return build_images(items, tmp_path / folder, dataset="set", **given)


def converted(tmp_path, name, conversion):
    report = build(tmp_path, name, conversion)
    assert report.problems == ()
    assert verify(tmp_path / "images") == []
    with Samples(tmp_path / "images") as samples:
        return samples[0]


def refused(tmp_path, name, conversion=None):
    (problem,) = build(tmp_path, name, conversion).problems
    return problem


def pixels(sample):
    return np.asarray(sample.open())


class TestWithoutNeed:
    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_an_image_keeps_its_bytes(self, tmp_path, name):
        Image.effect_noise((20, 10), 50).save(tmp_path / name)
        everything = Conversion(types=True, window="range", max_side=20, orient=True)
        assert converted(tmp_path, name, everything).image == (tmp_path / name).read_bytes()

    def test_the_manifest_says_what_was_changed(self, tmp_path):
        from captioner.shards import read_manifest

        Image.new("L", (20, 10)).save(tmp_path / "large.png")
        Image.new("L", (10, 10)).save(tmp_path / "small.png")
        items = [ImageItem(f"k-{n}", tmp_path / f"{n}.png", f"{n}.png") for n in ("large", "small")]
        build_images(items, tmp_path / "images", dataset="set", conversion=Conversion(max_side=10))
        manifest = read_manifest(tmp_path / "images")
        assert manifest.conversion == {"max_side": 10}
        assert [(image.width, image.height, image.converted) for image in manifest.images()] == [
            (10, 5, True),
            (10, 10, False),
        ]


class TestTypes:
    @pytest.mark.parametrize("name", ["a.tif", "a.webp", "a.bmp", "a.gif", "a.pgm"])
    def test_other_types_become_png_and_lose_nothing(self, tmp_path, name):
        image = Image.effect_noise((9, 7), 50)
        image.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
        sample = converted(tmp_path, name, Conversion(types=True))
        assert sample.type == "png"
        assert (np.asarray(sample.open().convert("L")) == np.asarray(image)).all()

    def test_they_are_refused_unless_asked_for(self, tmp_path):
        Image.new("L", (4, 4)).save(tmp_path / "a.tif")
        problem = refused(tmp_path, "a.tif")
        assert problem.code == "unsupported_type"
        assert "types=True" in problem.reason

    def test_an_animation_is_refused(self, tmp_path):
        Image.new("L", (4, 4)).save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (4, 4), 9)])
        assert "2 images in one file" in refused(tmp_path, "a.gif", Conversion(types=True)).reason

    def test_all_images_can_be_stored_as_one_type(self, tmp_path):
        Image.new("RGBA", (4, 4), (200, 10, 10, 255)).save(tmp_path / "a.png")
        sample = converted(tmp_path, "a.png", Conversion(type="jpg"))
        assert sample.type == "jpg"
        assert sample.open().mode == "RGB"

    def test_colours_of_print_become_those_of_screens_in_png(self, tmp_path):
        Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
        assert converted(tmp_path, "a.jpg", Conversion(type="png")).open().mode == "RGB"


class TestDepth:
    @pytest.fixture(params=["png", "tif"])
    def deep(self, tmp_path, request):
        Image.fromarray(RAMP).save(tmp_path / f"deep.{request.param}")
        return f"deep.{request.param}"

    def test_values_outside_the_window_are_black_and_white(self, tmp_path, deep):
        found = pixels(converted(tmp_path, deep, Conversion(types=True, window=(1024, 3072))))
        assert (found[RAMP <= 1024] == 0).all()
        assert (found[RAMP >= 3072] == 255).all()
        assert (found == np.rint(np.clip((RAMP - 1024.0) / 2048, 0, 1) * 255)).all()

    def test_the_range_of_the_image_can_be_the_window(self, tmp_path, deep):
        found = pixels(converted(tmp_path, deep, Conversion(types=True, window="range")))
        assert (found.min(), found.max()) == (0, 255)

    def test_without_a_window_they_are_refused(self, tmp_path, deep):
        assert "more than 8 bits" in refused(tmp_path, deep, Conversion(types=True)).reason

    def test_a_file_without_a_window_of_its_own_is_refused(self, tmp_path, deep):
        assert "names no window" in refused(tmp_path, deep, Conversion(types=True, window="file")).reason

    def test_an_image_of_one_value_is_black(self, tmp_path):
        Image.fromarray(np.full((4, 4), 700, np.uint16)).save(tmp_path / "a.png")
        assert pixels(converted(tmp_path, "a.png", Conversion(window="range"))).max() == 0

    def test_floating_point_images_are_windowed(self, tmp_path):
        Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)).save(tmp_path / "a.tif")
        found = pixels(converted(tmp_path, "a.tif", Conversion(types=True, window=(0, 1))))
        assert found.ravel().tolist() == [17 * i for i in range(16)]

    def test_pixels_that_are_no_numbers_are_refused(self, tmp_path):
        Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tif")
        assert refused(tmp_path, "a.tif", Conversion(types=True, window="range")).code == "corrupt_image"

    @pytest.mark.parametrize("window", [(5, 5), (6, 5)])
    def test_a_window_without_width_is_refused(self, window):
        with pytest.raises(ValueError, match="from a smaller to a larger value"):
            Conversion(window=window)


class TestSizeAndOrientation:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
    def test_the_longest_side_is_limited(self, tmp_path, mode):
        Image.new(mode, (300, 200)).save(tmp_path / "a.png")
        assert converted(tmp_path, "a.png", Conversion(max_side=30)).open().size == (30, 20)

    def test_a_jpeg_stays_a_jpeg(self, tmp_path):
        Image.effect_noise((300, 2), 50).save(tmp_path / "a.jpg")
        sample = converted(tmp_path, "a.jpg", Conversion(max_side=30))
        assert (sample.type, sample.open().size) == ("jpg", (30, 1))

    def test_an_image_is_turned_and_its_metadata_are_gone(self, tmp_path):
        image = Image.new("RGB", (40, 20))
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "Jane Doe"
        image.save(tmp_path / "a.jpg", exif=exif)
        sample = converted(tmp_path, "a.jpg", Conversion(orient=True))
        assert sample.open().size == (20, 40)
        assert b"Jane Doe" not in sample.image
        assert not sample.open().getexif()


def test_a_folder_is_not_continued_with_another_conversion(tmp_path):
    Image.new("L", (40, 20)).save(tmp_path / "a.png")
    build(tmp_path, "a.png", Conversion(max_side=30))
    with pytest.raises(OutputError, match=r"conversion \{'max_side': 30\}, now it is none"):
        build(tmp_path, "a.png")


def test_conversions_give_the_same_bytes_each_time(tmp_path):
    Image.effect_noise((300, 200), 50).save(tmp_path / "a.png")
    for folder in ("one", "two"):
        build(tmp_path, "a.png", Conversion(max_side=100), folder)
    one, two = ((tmp_path / folder / "SHA256SUMS").read_bytes() for folder in ("one", "two"))
    assert one == two


class TestDicom:
    FILE = Conversion(types=True, window="file")

    def test_the_window_of_the_file_is_applied(self, tmp_path, dicom):
        sample = converted(tmp_path, dicom(WindowCenter=2048, WindowWidth=1024), self.FILE)
        expected = np.clip((RAMP - (2047.5 - 511.5)) / 1023, 0, 1) * 255
        assert np.abs(pixels(sample) - expected).max() <= 0.5
        assert b"Jane" not in sample.image

    def test_the_first_of_several_windows_counts(self, tmp_path, dicom):
        name = dicom(WindowCenter=[1000, 3000], WindowWidth=[1, 500])
        found = pixels(converted(tmp_path, name, self.FILE))
        assert set(found.ravel()) == {0, 255}
        assert (found[RAMP >= 1000] == 255).all()

    def test_values_are_rescaled_before_the_window(self, tmp_path, dicom):
        name = dicom(RescaleSlope=1, RescaleIntercept=-1024)
        found = pixels(converted(tmp_path, name, Conversion(types=True, window=(-1024, -24))))
        assert (found == np.rint(np.clip(RAMP / 1000.0, 0, 1) * 255)).all()

    def test_black_on_white_is_turned_round(self, tmp_path, dicom):
        name = dicom(PhotometricInterpretation="MONOCHROME1")
        found = pixels(converted(tmp_path, name, Conversion(types=True, window="range")))
        assert (found[0, 0], found[-1, -1]) == (255, 0)

    def test_a_curved_window_is_followed(self, tmp_path, dicom):
        name = dicom(WindowCenter=2048, WindowWidth=1024, VOILUTFunction="SIGMOID")
        found = pixels(converted(tmp_path, name, self.FILE))
        assert np.abs(found - 255 / (1 + np.exp(-4 * (RAMP - 2048.0) / 1024))).max() <= 0.5

    @pytest.mark.parametrize("form", ["US", "OW"])
    def test_a_lookup_table_goes_before_a_window(self, tmp_path, dicom, form):
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence

        table = Dataset()
        numbers = [255 - i // 16 for i in range(4096)]
        table.add_new("LUTDescriptor", "US", [4096, 0, 8])
        table.add_new("LUTData", form, numbers if form == "US" else np.array(numbers, "<u2").tobytes())
        name = dicom(VOILUTSequence=Sequence([table]), WindowCenter=1, WindowWidth=2)
        found = pixels(converted(tmp_path, name, self.FILE))
        assert found.tolist() == (255 - RAMP // 16).tolist()

    def test_eight_bits_need_no_window(self, tmp_path, dicom):
        values = (RAMP // 16).astype(np.uint8)
        assert (pixels(converted(tmp_path, dicom(values, 8), Conversion(types=True))) == values).all()

    def test_a_file_without_a_window_is_refused_if_that_is_asked_for(self, tmp_path, dicom):
        assert "names no window" in refused(tmp_path, dicom(), self.FILE).reason

    def test_a_file_with_names_written_into_the_picture_is_refused(self, tmp_path, dicom):
        assert "written into its pixels" in refused(tmp_path, dicom(BurnedInAnnotation="YES"), self.FILE).reason

    def test_half_a_file_is_refused(self, tmp_path, dicom):
        path = tmp_path / dicom(WindowCenter=2048, WindowWidth=1024)
        path.write_bytes(path.read_bytes()[:-100])
        assert refused(tmp_path, "a.dcm", self.FILE).code == "corrupt_image"


def test_what_a_conversion_sets_is_plain_json(tmp_path):
    from captioner.shards.convert import changes

    conversion = Conversion(types=True, window=(0, 4095), type="png")
    assert json.loads(json.dumps(changes(conversion))) == {"types": True, "window": [0, 4095], "type": "png"}
    assert changes(Conversion()) == {}


def test_damaged_files_of_any_type_are_reported(tmp_path):
    image = Image.effect_noise((40, 40), 50)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        (tmp_path / kind).write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        problem = refused(tmp_path, kind, Conversion(types=True))
        assert problem.code == "corrupt_image", kind
