"""Where UniMed's scripts stop, drop rows or write what cannot be trained on, the outputs are right, and say what is left out."""

import json
import os

import pytest
from PIL import Image

from captioner.errors import TableError, UsageError
from captioner.unimed import OUTPUTS, from_files, look
from tests.unimed import made
from tests.unimed.conftest import rejected, tars, texts


def rows_of(folder):
    return [(row["row"], row["column"], row["code"]) for row in rejected(folder)]


def chestxrays(data, *cells, header=("image", "labels", "captions")):
    """Write ChestX-ray8's annotations anew; three rows that are right stand before those given."""
    good = [[repr([f"{i:08d}_000.png"]), "['Mass']", repr(made.captions("Mass", i))] for i in range(3)]
    made.table(data / made.CHESTXRAY8, list(header), [*good, *map(list, cells)])


NAME = "['00000004_000.png']"
TEN = repr(made.captions("Mass", 4))


class TestRowsThatCannotBecomeASample:
    @pytest.mark.parametrize(
        ("cells", "column", "code"),
        [
            ((NAME, "['Mass']", ""), "captions", "no_caption"),
            ((NAME, "['Mass']", "[]"), "captions", "no_caption"),
            ((NAME, "['Mass']", "['', '.', ' .. ']"), "captions", "no_caption"),
            ((NAME, "['Mass']", "['A mass"), "captions", "bad_list"),
            ((NAME, "['Mass']", "[1, 2]"), "captions", "bad_list"),
            ((NAME, "['Mass']", "{'a': 'b'}"), "captions", "bad_list"),
            ((NAME, "['Mass']", "__import__('os').mkdir('harm')"), "captions", "bad_list"),
            ((NAME, "['Mass']", "[" * 5000), "captions", "bad_list"),
            ((NAME, "['Mass']", "['" + "a" * (1 << 20) + "']"), "captions", "bad_list"),
            ((NAME, "['Mass']", "['left_chestxray8_right']"), "captions", "mark_in_text"),
            ((NAME, "['Mass']", "['seen in a_dr_b']"), "captions", "mark_in_text"),
            ((NAME, "['Mass']", r"['half a letter \ud83d']"), "captions", "bad_text"),
            (("", "['Mass']", TEN), "image", "bad_image_reference"),
            (("[]", "['Mass']", TEN), "image", "bad_image_reference"),
            (("00000004_000.png", "['Mass']", TEN), "image", "bad_image_reference"),
            ((NAME,), "captions", "no_caption"),
            ((NAME, "['Mass']", TEN, "more"), "", "bad_row"),
        ],
    )
    def test_are_listed_with_the_reason_and_the_others_are_written(self, data, built, cells, column, code):
        chestxrays(data, cells, (NAME, "['Mass']", TEN))
        done = built(data, "chestxray8")
        assert rows_of(done.folder) == [("5", column, code)]
        assert (done.samples, done.rejected) == (4, {code: 1})
        assert [row["file"] for row in rejected(done.folder)] == [made.CHESTXRAY8]
        assert not (data.parent / "harm").exists()

    def test_rows_are_counted_in_lines_of_the_file(self, data, built):
        chestxrays(data, (NAME, "over\nthree\nlines", TEN), (NAME, "", ""))
        assert rows_of(built(data, "chestxray8").folder) == [("8", "captions", "no_caption")]

    def test_bytes_that_are_no_utf_8_cost_their_row_only(self, data, built):
        path = data / made.CHESTXRAY8
        path.write_bytes(path.read_bytes().replace(b"Mass 2, caption 0", b"Mass \xff, caption 0"))
        done = built(data, "chestxray8")
        assert (done.samples, rows_of(done.folder)) == (6, [("4", "captions", "bad_text")])


class TestImages:
    @pytest.mark.parametrize("name", OUTPUTS)
    def test_that_are_missing_leave_neither_half_a_sample_nor_an_empty_tar(self, name, data, built):
        before = texts(built(data, name, per_shard=2).folder)
        gone = sorted(p for p in data.rglob("*.*") if p.suffix in {".jpg", ".png", ".tif"})
        for path in gone:
            if path.stem.endswith(("0", "1", "0_000", "1_000", "_frontal", "1_F1", "0_F0", "1_1", "0_1", "0-1001")):
                path.unlink()
        folder = data.parent / "out" / OUTPUTS[name].folder
        folder.rename(data.parent / "before")
        done = built(data, name, per_shard=2)
        assert done.shards == -(-done.samples // 2)
        assert set(texts(done.folder)) <= set(before)
        assert "missing_image" in done.rejected or name == "chexpert"

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("../../chest_xray8/images/00000004_000.png", "bad_image_reference"),
            ("/etc/hostname", "bad_image_reference"),
            ("file:///etc/hostname", "bad_image_reference"),
            ("c:\\\\windows\\\\x.png", "bad_image_reference"),
            ("link.png", "outside_root"),
            ("folder/secret.png", "outside_root"),
            ("nothing.png", "missing_image"),
            ("loop.png", "unreadable"),
            ("pipe.png", "unreadable"),
            ("empty.png", "corrupt_image"),
            ("page.png", "corrupt_image"),
            ("half.jpg", "corrupt_image"),
            ("deep.png", "unsupported_type"),
            ("float.tif", "unsupported_type"),
        ],
    )
    def test_outside_of_the_folder_or_unusable_are_refused(self, data, built, name, code):
        images = data / "chest_xray8/images"
        (data.parent / "elsewhere").mkdir()
        made.picture(data.parent / "elsewhere/secret.png", 1)
        (images / "link.png").symlink_to(data.parent / "elsewhere/secret.png")
        (images / "folder").symlink_to(data.parent / "elsewhere")
        (images / "loop.png").symlink_to(images / "loop.png")
        os.mkfifo(images / "pipe.png")
        (images / "empty.png").write_bytes(b"")
        (images / "page.png").write_text("<html>Please log in</html>")
        Image.effect_noise((64, 64), 9).save(images / "half.jpg")
        (images / "half.jpg").write_bytes((images / "half.jpg").read_bytes()[:-900])
        Image.new("I;16", (4, 4)).save(images / "deep.png")
        Image.new("F", (4, 4)).save(images / "float.tif")
        chestxrays(data, (f"['{name}']", "", TEN))
        done = built(data, "chestxray8")
        assert rows_of(done.folder) == [("5", "image", code)]
        assert done.samples == 3

    def test_linked_within_the_folder_are_taken_and_so_is_a_dataset_on_another_disk(self, data, built):
        (data / "chest_xray8").rename(data.parent / "disk")
        (data / "chest_xray8").symlink_to(data.parent / "disk")
        (data / "chest_xray8/images/link.png").symlink_to(data / "chest_xray8/images/00000004_000.png")
        chestxrays(data, ("['link.png']", "", TEN))
        assert built(data, "chestxray8").samples == 4

    def test_that_a_loader_can_decode_keep_their_bytes_whatever_their_type(self, data, built):
        for kind in ("tif", "bmp", "webp", "gif", "ppm"):
            Image.new("RGB", (4, 4), 77).save(data / f"chest_xray8/images/x.{kind}")
        chestxrays(data, *((f"['x.{kind}']", "", TEN) for kind in ("tif", "bmp", "webp", "gif", "ppm")))
        assert built(data, "chestxray8").samples == 8

    def test_are_found_in_the_twelve_folders_that_kaggle_has(self, data, built):
        images = data / "chest_xray8/images"
        for i, path in enumerate(sorted(images.iterdir())):
            (data / f"chest_xray8/images_{i + 1:03d}/images").mkdir(parents=True)
            path.rename(data / f"chest_xray8/images_{i + 1:03d}/images/{path.name}")
        assert built(data, "chestxray8").samples == made.COUNT

    def test_of_chexpert_are_found_under_names_that_begin_with_its_folder(self, data, built):
        path = data / made.CHEXPERT
        before = tars(built(data, "chexpert").folder)
        path.write_text(path.read_text("utf-8").replace("['train", "['CheXpert-v1.0-small/train"), "utf-8")
        (data.parent / "out").rename(data.parent / "before")
        assert tars(built(data, "chexpert").folder) == before


class TestTexts:
    def test_an_empty_caption_gives_its_place_to_another_of_the_list(self, data, built):
        chestxrays(data, (NAME, "", repr(["one.", "", "three", "."])))
        done = built(data, "chestxray8")
        expected = "one._chestxray8_three._chestxray8_one._chestxray8_three._chestxray8_"
        assert texts(done.folder)[-1] == expected
        assert done.notes == {"filled": 1, "short": 1}

    def test_unused_labels_are_not_read(self, data, built):
        chestxrays(data, (NAME, "[", TEN), (NAME, "[]", TEN), (NAME, "", TEN))
        assert built(data, "chestxray8").samples == 6

    def test_a_report_of_blanks_is_no_report(self, data, built):
        rows = [["['2.0.0/files/p10/p10000001/s50000001/00000001.jpg']", "", TEN, "  \n"]]
        made.table(data / made.MIMIC, ["a", "b", "c", "d"], rows)
        assert texts(built(data, "mimic_cxr").folder)[0].endswith("._mimiccxr__mimiccxr_noreportpresent")

    def test_mimic_without_captions_and_without_a_report_is_left_out(self, data, built):
        rows = [["['2.0.0/files/p10/p10000001/s50000001/00000001.jpg']", "", "[]", ""]]
        made.table(data / made.MIMIC, ["a", "b", "c", "d"], rows)
        assert built(data, "mimic_cxr").rejected == {"no_caption": 1}

    @pytest.mark.parametrize(("name", "file", "other"), [("openi", 0, 1), ("openi", 1, 0)])
    def test_open_is_longer_list_is_reported_from_where_the_other_ends(self, data, built, name, file, other):
        path = data / made.OPENI[other]
        content = json.loads(path.read_text("utf-8"))
        key = ("annotations", "refined_captions")[other]
        made.document(path, content | {key: content[key][:5]})
        done = built(data, name)
        assert done.samples == 5
        assert [(r["file"], r["row"], r["code"]) for r in rejected(done.folder)] == [
            (made.OPENI[file], row, "unpaired") for row in ("6", "7")
        ]

    def test_open_is_tars_have_the_size_that_was_asked_for(self, data, built):
        assert built(data, "openi", per_shard=2).shards == 4

    def test_roco_identifiers_that_are_numbers_are_names_all_the_same(self, data, built):
        for i in range(3):
            made.picture(data / f"ROCOV2/train/00{i}.jpg", i)
        made.table(data / made.ROCO, ["ID", "Caption"], [[f"00{i}", "A scan."] for i in range(3)])
        assert built(data, "rocov2").samples == 3

    def test_a_category_of_deepeyenet_is_always_the_same_one(self, data, built):
        assert built(data, "retina_part2").notes == {"unfiltered": 1}
        assert "45-year-old woman" in texts(data.parent / "out/retina_part2_webdataset")

    def test_code_in_deepeyenets_cells_is_not_run(self, data, built):
        path = data / made.RETINA / "06_DEN.csv"
        harm = f"[open({str(data / 'harm')!r}, 'w').name]"
        made.table(path, ["image", "atributes", "categories"], [["06_DEN/1.jpg", harm, harm]])
        assert built(data, "retina_part2").rejected == {"bad_list": 1}
        assert not (data / "harm").exists()

    def test_retina_captions_are_kept_where_the_sentence_is_missing(self, data, built):
        row = ["03_IDRiD/image 0.jpg", repr(["one", "two"]), ""]
        made.table(data / made.RETINA / "03_IDRiD.csv", ["filename", "captions", "sentence_level_captions"], [row])
        assert texts(built(data, "retina_part1").folder)[0] == "one._all_retina_merged_two._all_retina_merged_"

    @pytest.mark.parametrize("mention", [[], [{"tokens": None}], [{}], "text", [["a"]]])
    def test_a_figure_without_a_mention_has_its_caption_all_the_same(self, data, built, mention):
        figures = [{"pair_id": "1_F1", "fig_caption": "A scan.", "in_text_mention": mention}]
        made.document(data / made.INSTRUCT, {"mri": figures})
        assert texts(built(data, "llava_med_instruct").folder) == ["A scan."]

    @pytest.mark.parametrize("line", ["[1]", "{", '{"image": "PMC1_Fig1_1.jpg"}', '{"caption": "x"}', "nonsense"])
    def test_a_line_of_pmc_oa_that_says_nothing_costs_itself_only(self, data, built, line):
        path = data / made.PMC
        path.write_text(f"{line}\n\n" + path.read_text("utf-8"), "utf-8")
        done = built(data, "pmc_oa")
        assert (done.samples, [row["row"] for row in rejected(done.folder)]) == (made.COUNT, ["1"])

    @pytest.mark.parametrize("value", [None, 3, " ", "nan", "NA", float("nan")])
    def test_what_is_no_caption_is_none(self, data, built, value):
        rows = [{"image": f"PMC{i}_Fig{i}_1.jpg", "caption": "A scan." if i else value} for i in range(3)]
        (data / made.PMC).write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert built(data, "pmc_oa").rejected == {"no_caption": 1}


class TestFilesAsAWhole:
    def test_a_missing_file_is_named_with_its_place_and_the_other_way(self, data):
        (data / made.CHESTXRAY8).unlink()
        with pytest.raises(UsageError, match=rf"{data / made.CHESTXRAY8} is not there\..*--captions chestxray8=OUT"):
            from_files(data, OUTPUTS["chestxray8"])

    @pytest.mark.parametrize("name", OUTPUTS)
    def test_an_empty_data_folder_lacks_everything_and_says_so(self, name, tmp_path):
        state = look(tmp_path, OUTPUTS[name])
        assert not state.ready
        assert all(str(tmp_path / OUTPUTS[name].dataset[0]) in sentence for sentence in state.missing)

    @pytest.mark.parametrize(
        ("name", "file", "content", "message"),
        [
            ("chestxray8", made.CHESTXRAY8, "", "the file is empty"),
            ("chestxray8", made.CHESTXRAY8, "<!doctype html>\n<p>log in\n", "1 columns, expected at least 3"),
            ("chestxray8", made.CHESTXRAY8, 'a,b,c\n1,2,"three\n4,5,6\n', "row 2: a quote .* never closed"),
            ("mimic_cxr", made.MIMIC, "a,b,c\n", "3 columns, expected at least 4"),
            (
                "retina_part3",
                f"{made.RETINA}/39_MM_Retinal_dataset.csv",
                "image,text\n",
                "no column 'caption'; it has: image",
            ),
            ("openi", made.OPENI[0], "[]", "no list 'annotations'"),
            ("openi", made.OPENI[1], '{"refined_captions": [["a"], [', "not valid JSON, or cut off"),
            ("llava_med_alignment", made.ALIGNMENT, '"text"', "neither a list nor"),
            ("llava_med_instruct", made.INSTRUCT, "", "neither a list nor"),
        ],
    )
    def test_that_cannot_be_read_are_an_error_and_no_tar_is_written(self, name, file, content, message, *, data, built):
        (data / file).write_text(content, "utf-8")
        with pytest.raises(TableError, match=message):
            built(data, name)
        assert not list(data.parent.glob("out/*/*.tar"))

    def test_a_table_of_another_kind_among_retinas_is_an_error_at_once(self, data, built):
        made.table(data / made.RETINA / "99_LAST.csv", ["image", "categories"], [["a.jpg", "[]"]])
        with pytest.raises(TableError, match=r"99_LAST\.csv: no column 'filename'; it has: image, categories"):
            built(data, "retina_part1")
        assert not (data.parent / "out").exists()

    @pytest.mark.parametrize(
        ("name", "file", "content"), [("rocov2", made.ROCO, "ID,Caption\n"), ("pmc_oa", made.PMC, "")]
    )
    def test_a_table_without_rows_is_an_error(self, data, built, name, file, content):
        (data / file).write_text(content)
        with pytest.raises(UsageError, match="no rows"):
            built(data, name)

    def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(self, data, built):
        before = tars(built(data, "rocov2").folder)
        path = data / made.ROCO
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        (data.parent / "out").rename(data.parent / "before")
        assert tars(built(data, "rocov2").folder) == before
