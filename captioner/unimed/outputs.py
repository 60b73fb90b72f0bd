"""The thirteen outputs: where their annotations and images lie below $DATA, and how a row is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from captioner.unimed import texts
from captioner.unimed.rows import Entry, Field, File, Reject, entry, read_csv, read_json, read_json_lines, shown
from captioner.unimed.texts import Text, Unusable

Reader = Callable[[Sequence[File]], Iterator[Entry | Reject]]
"""From an output's annotation files to what their rows come to, in UniMed's order."""


@dataclass(frozen=True, slots=True)
class Output:
    """One of UniMed's outputs.

    Attributes:
        name: what commands call it.
        folder: where its tars go, as UniMed's documentation names it.
        dataset: its folder below $DATA, in the spellings of that documentation.
        annotations: for each annotation file the places where it may lie, below the dataset's folder; a folder stands
            for all its CSV files in alphabetical order.
        images: where image names may start, below the dataset's folder, the documented place first.
        read: how rows are read.
        tars: how many of 1,000 samples UniMed has of it (run_configs_400m.py, train_data).
        tag: the mark of its joined captions, without underscores around it; None where a text is one caption.
        drawn: from how many captions the training loader draws.
        passed_over: files of an annotation folder that do not belong to it.
    """

    name: str
    folder: str
    dataset: tuple[str, ...]
    annotations: tuple[tuple[str, ...], ...]
    images: tuple[str, ...]
    read: Reader
    tars: int
    tag: str | None = None
    drawn: int = texts.DRAWN
    passed_over: frozenset[str] = frozenset()


def _of_three_columns(text: Callable[[str], Text]) -> Reader:
    """The image in a list, labels that are not used, and the captions in a list; whatever the columns are called."""

    def read(files: Sequence[File]) -> Iterator[Entry | Reject]:
        for file in files:
            for row in read_csv(file, width=3):
                if isinstance(row, Reject):
                    yield row
                    continue
                name, _, captions = row.cells[:3]
                image = Field(row.header[0], name, texts.first_name)
                yield entry(file, row.line, image, Field(row.header[2], captions, text))

    return read


def _mimic(files: Sequence[File]) -> Iterator[Entry | Reject]:
    for file in files:
        for row in read_csv(file, width=4):
            if isinstance(row, Reject):
                yield row
                continue
            name, _, captions, report = row.cells[:4]
            image = Field(row.header[0], name, texts.first_name)
            text = Field(row.header[2], (captions, report), partial(texts.with_report, tag="mimiccxr"))
            yield entry(file, row.line, image, text)


def _openi(files: Sequence[File]) -> Iterator[Entry | Reject]:
    originals, refined = files
    nothing = object()
    pairs = zip_longest(read_json(originals, "annotations"), read_json(refined, "refined_captions"), fillvalue=nothing)
    for number, (original, captions) in enumerate(pairs, 1):
        if original is nothing or captions is nothing:
            here, there = (refined, originals) if original is nothing else (originals, refined)
            value = shown(captions if original is nothing else original)
            reason = f"{there.name} ends before: the two lists belong together by position"
            yield Reject(here.name, number, "", value, "unpaired", reason)
            continue
        image = Field("image_id", _item(original, "image_id"), partial(_named, suffix=".png"))
        both = (_item(original, "caption"), captions)
        yield entry(originals, number, image, Field("caption", both, partial(texts.original_first, tag="openi")))


def _retina(files: Sequence[File]) -> Iterator[Entry | Reject]:
    columns = ("filename", "captions", "sentence_level_captions")
    for file in files:
        next(read_csv(file, columns=columns), None)  # a file of another kind shows before anything is written
    for file in files:
        for row in read_csv(file, columns=columns):
            if isinstance(row, Reject):
                yield row
                continue
            name, captions, sentence = (row.cells[row.header.index(column)] for column in columns)
            text = Field("captions", (captions, sentence), partial(texts.with_sentence, tag="all_retina_merged"))
            yield entry(file, row.line, Field("filename", name, _named), text)


def _of_columns(image: int | str, caption: int | str, text: Callable[[str], Text], *, suffix: str = "") -> Reader:
    """One row, one image, one text; columns by position or by name."""
    names = tuple(column for column in (image, caption) if isinstance(column, str))
    width = 1 + max(column if isinstance(column, int) else 0 for column in (image, caption))

    def read(files: Sequence[File]) -> Iterator[Entry | Reject]:
        for file in files:
            for row in read_csv(file, width=width, columns=names):
                if isinstance(row, Reject):
                    yield row
                    continue
                first, second = (c if isinstance(c, int) else row.header.index(c) for c in (image, caption))
                yield entry(
                    file,
                    row.line,
                    Field(row.header[first], row.cells[first], partial(_named, suffix=suffix)),
                    Field(row.header[second], row.cells[second], text),
                )

    return read


def _pmc_oa(files: Sequence[File]) -> Iterator[Entry | Reject]:
    for file in files:
        for row in read_json_lines(file):
            if isinstance(row, Reject):
                yield row
                continue
            number, value = row
            image = Field("image", value.get("image"), _named)
            yield entry(file, number, image, Field("caption", value.get("caption"), texts.plain))


def _alignment(files: Sequence[File]) -> Iterator[Entry | Reject]:
    for file in files:
        for number, value in enumerate(read_json(file), 1):
            answer = _item(_item(_item(value, "conversations"), 1), "value")
            image = Field("image", _item(value, "image"), _named)
            yield entry(file, number, image, Field("conversations", answer, texts.plain))


def _instruct(files: Sequence[File]) -> Iterator[Entry | Reject]:
    """All figures with their captions, then once more those that the article's text mentions, with the first mention."""
    for file in files:
        for column in ("fig_caption", "in_text_mention"):
            for number, value in enumerate(read_json(file), 1):
                cell = _item(value, column)
                if column == "in_text_mention":
                    if not cell:
                        continue
                    cell = _item(_item(cell, 0), "tokens")
                image = Field("pair_id", _item(value, "pair_id"), partial(_named, suffix=".jpg"))
                yield entry(file, number, image, Field(column, cell, texts.plain))


def _item(value: Any, key: str | int) -> Any:
    """Return a member of what should be a JSON object or list; None if it is none or lacks it."""
    if isinstance(key, str):
        return value.get(key) if isinstance(value, dict) else None
    return value[key] if isinstance(value, list) and len(value) > key else None


def _named(cell: object, suffix: str = "") -> str:
    if isinstance(cell, bool) or not isinstance(cell, str | int) or not str(cell).strip():
        raise Unusable("bad_image_reference", "no image is named")
    return f"{cell}{suffix}"


_RETINA = ("Retina-Datasets",)
_LISTS = ("Retina-Annotations",)
_DEN, _MM_RETINAL = "06_DEN.csv", "39_MM_Retinal_dataset.csv"

_ALL = (
    Output(
        "chexpert",
        "chexpert_webdataset",
        ("CheXpert-v1.0-small",),
        (("chexpert_with_captions_only_frontal_view.csv",),),
        ("", ".."),
        _of_three_columns(partial(texts.listed, tag="chexpert")),
        212,
        "chexpert",
    ),
    Output(
        "mimic_cxr",
        "mimic_cxr_webdataset",
        ("mimic-cxr-jpg",),
        (
            tuple(
                f"{folder}mimic_cxr_with_captions_and_reports_only_frontal_view.csv"
                for folder in ("2.0.0/files/", "2.1.0/files/", "files/", "")
            ),
        ),
        ("", "2.0.0/files", "2.1.0/files", "files"),
        _mimic,
        270,
        "mimiccxr",
    ),
    Output(
        "openi",
        "openi_webdataset",
        ("openi", "openI", "OpenI"),
        (("filter_cap.json",), ("openai_refined_concepts.json",)),
        ("image", "images", ""),
        _openi,
        7,
        "openi",
        drawn=1,
    ),
    Output(
        "chestxray8",
        "chest_xray8_webdataset",
        ("chest_xray8",),
        (("Chest-Xray8_with_captions.csv",),),
        ("images", *(f"images_{i:03d}/images" for i in range(1, 13))),
        _of_three_columns(partial(texts.listed, tag="chestxray8")),
        113,
        "chestxray8",
    ),
    Output(
        "radimagenet",
        "radimagenet_webdataset",
        ("radimagenet",),
        (
            (
                "radiology_ai/radimagenet_with_captions_training_set.csv",
                "radimagenet_with_captions_training_set.csv",
            ),
        ),
        ("", "radiology_ai"),
        _of_three_columns(partial(texts.listed, tag="radimagenet", strip=False)),
        1049,
        "radimagenet",
    ),
    Output(
        "retina_part1",
        "retina_part1_webdataset",
        _RETINA,
        (_LISTS,),
        ("",),
        _retina,
        155,
        "all_retina_merged",
        passed_over=frozenset(
            {_DEN, _MM_RETINAL, "28_OIA-DDR_revised.csv", "07_LAG_revised.csv", "01_EYEPACS_revised.csv"}
        ),
    ),
    Output(
        "retina_part2",
        "retina_part2_webdataset",
        _RETINA,
        ((f"{_LISTS[0]}/{_DEN}", _DEN),),
        ("",),
        _of_columns("image", "categories", texts.category),
        13,
        "all_retina_merged",
    ),
    Output(
        "retina_part3",
        "retina_part3_webdataset",
        _RETINA,
        ((f"{_LISTS[0]}/{_MM_RETINAL}", _MM_RETINAL),),
        ("",),
        _of_columns("image", "caption", texts.as_is),
        6,
        "all_retina_merged",
    ),
    Output(
        "quilt_1m",
        "quilt_1m_webdataset",
        ("Quilt",),
        (("quilt_1M_lookup.csv",),),
        ("quilt_1m", ""),
        _of_columns(2, 1, texts.plain),
        1018,
    ),
    Output(
        "pmc_oa",
        "pmc_oa_webdataset",
        ("pmc_oa",),
        (("pmc_oa.jsonl",),),
        ("caption_T060_filtered_top4_sep_v0_subfigures", "images"),
        _pmc_oa,
        1645,
    ),
    Output(
        "rocov2",
        "rocov2_webdataset",
        ("ROCOV2", "ROCOv2"),
        (("train_captions.csv",),),
        ("train",),
        _of_columns(0, 1, texts.plain, suffix=".jpg"),
        61,
    ),
    Output(
        "llava_med_alignment",
        "llava_med_alignment_webdataset",
        ("llava_med",),
        (("llava_med_alignment_500k_filtered.json",),),
        ("images",),
        _alignment,
        468,
    ),
    Output(
        "llava_med_instruct",
        "llava_med_instruct_webdataset",
        ("llava_med",),
        (("llava_med_instruct_fig_captions.json",),),
        ("images",),
        _instruct,
        265,
    ),
)

OUTPUTS = {output.name: output for output in _ALL}
"""All thirteen, by name."""
