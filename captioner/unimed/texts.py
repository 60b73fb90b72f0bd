"""What UniMed writes into a sample's text, rule by rule.

Its training loader looks for the marks below in a text, splits it at the first kind that it finds, and draws one of the
first ten pieces; a text without a mark is one caption.
"""

import ast
import functools
import string
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from captioner.shards.forms import joined

NO_REPORT = "noreportpresent"
"""What stands for a missing report; the loader then draws a caption."""

DRAWN = 10
"""From how many captions the loader draws."""

MARKS = tuple(
    f"_{tag}_"
    for tag in (
        *("radimagenet", "chexpert", "openi", "chestxray8"),
        *("all_retina_merged", "dr", "medicat", "mimiccxr"),
    )
)
"""What the loader splits texts at (src/training/data.py, preprocess_txt_rad)."""

MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""Cells that pandas.read_csv reads as missing by default, and so UniMed's scripts."""

LIMIT = 1 << 20
"""Characters that a cell with a list may have."""

_NOTHING = string.whitespace + "."


class Unusable(Exception):  # noqa: N818 - not an error: it carries a reason to the one place that reports it
    """A row or an image that cannot become a sample."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a sample.

    Attributes:
        content: as it is stored.
        notes: what a person should know of it: ``short`` (fewer captions than the loader draws from, so that it draws an
            empty one now and then), ``filled`` (empty captions were replaced by others of the list), ``unfiltered`` (only
            categories that UniMed filters out).
    """

    content: str
    notes: tuple[str, ...] = ()


def plain(cell: object) -> Text:
    """One caption, without blanks around it: Quilt-1M, PMC-OA, ROCOv2, LLaVA-Med.

    Raises:
        Unusable: there is no caption, or the loader would split it.
    """
    return Text(_caption(cell).strip())


def as_is(cell: object) -> Text:
    """One caption exactly as it stands: MM-Retinal.

    Raises:
        Unusable: as for :func:`plain`.
    """
    return Text(_caption(cell))


def listed(cell: str, tag: str, *, strip: bool = True) -> Text:
    """All captions of a list literal: CheXpert, ChestX-ray8; RadImageNet without strip.

    Raises:
        Unusable: the cell is no list of texts, holds no caption, or one that the loader would split.
    """
    return _several(strings(cell), tag, strip=strip)


def with_report(cells: tuple[str, str], tag: str) -> Text:
    """All captions of a list literal, then the report: MIMIC-CXR.

    Raises:
        Unusable: as for :func:`listed`, unless there is a report.
    """
    cell, report = cells
    captions, notes = _filled([] if cell.strip() in MISSING else strings(cell))
    if not report.strip() or report.strip() in MISSING:
        report = NO_REPORT
    if report == NO_REPORT and not captions:
        raise Unusable("no_caption", "neither a caption nor a report")
    _check([*captions, report])
    if report == NO_REPORT and len(captions) < DRAWN:
        notes = (*notes, "short")
    return Text(f"{joined(captions, tag)}_{tag}_{report}", notes)


def with_sentence(cells: tuple[str, str], tag: str) -> Text:
    """All captions of a list literal, then the sentence of another column, if there is one: the retina collection.

    Raises:
        Unusable: as for :func:`listed`.
    """
    cell, sentence = cells
    more = [] if sentence.strip() in MISSING else [sentence]
    return _several([*strings(cell), *more], tag)


def original_first(captions: tuple[object, object], tag: str) -> Text:
    """The caption of the report, then those that were refined from it: Open-i, whose loader takes the first.

    Raises:
        Unusable: the first is missing, or they are no texts, or the loader would split one.
    """
    first, refined = captions
    original = _caption(first)
    if not isinstance(refined, list) or not all(isinstance(each, str) for each in refined):
        raise Unusable("bad_list", "the refined captions are no list of texts")
    return _several([original, *refined], tag, drawn=1)


def category(cell: str) -> Text:
    """The last category that UniMed's filter leaves, as a sentence: DeepEyeNet.

    The filter leaves out what has "year" or "//" in it. If nothing is left, UniMed draws any category without a seed;
    here it is the first.

    Raises:
        Unusable: as for :func:`listed`.
    """
    found = [each for each in strings(cell) if each.strip() and each.strip() not in MISSING]
    if not found:
        raise Unusable("no_caption", "the list of categories is empty")
    good = [each for each in found if "year" not in each.strip("/") and "//" not in each.strip("/")]
    text = f"The fundus image of {good[-1]}" if good else found[0]
    _check([text])
    return Text(text, () if good else ("unfiltered",))


def own(captions: Sequence[str], tag: str | None, drawn: int) -> Text:
    """The captions of a run: joined, and repeated from the first on where they are fewer than the loader draws from.

    Raises:
        Unusable: there are none, or several where the output has no tag, or the loader would split one.
    """
    found = [caption for caption in captions if caption.strip(_NOTHING)]
    if not found:
        raise Unusable("no_caption", "the run has no caption for it")
    _check(found)
    if tag is None:
        if len(found) > 1:
            raise Unusable("several_captions", f"{len(found)} captions; this output has one text for an image")
        return Text(found[0])
    text = joined([found[i % len(found)] for i in range(max(drawn, len(found)))], tag)
    return Text(f"{text}_{tag}_{NO_REPORT}" if tag == "mimiccxr" else text)


@functools.lru_cache(1024)
def strings(cell: str) -> tuple[str, ...]:
    """Return the texts of a Python list literal. It is parsed, never run.

    Raises:
        Unusable: it is none, or too long.
    """
    if cell.strip() in MISSING:
        raise Unusable("no_caption", "the cell is empty")
    if len(cell) > LIMIT:
        raise Unusable("bad_list", f"{len(cell):,} characters, more than {LIMIT:,}: is a quote missing?")
    try:
        with warnings.catch_warnings():  # about escapes such as '\d', which stay as they are
            warnings.simplefilter("ignore")
            value = ast.literal_eval(cell)
    except UnicodeEncodeError:
        raise Unusable("bad_text", "it has bytes that are not UTF-8") from None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise Unusable("bad_list", "no list of texts such as ['one', 'two']")
    return tuple(value)


def first_name(cell: str) -> str:
    """Return the first name of a list literal: ``['a/b.jpg']``.

    Raises:
        Unusable: there is none.
    """
    try:
        names = strings(cell)
    except Unusable as problem:
        raise Unusable("bad_image_reference", f"the image: {problem.reason}") from None
    if not names or not names[0].strip():
        raise Unusable("bad_image_reference", "no image is named")
    return names[0]


def _caption(cell: object) -> str:
    if not isinstance(cell, str) or cell.strip() in MISSING:
        raise Unusable("no_caption", "there is no caption")
    _check([cell])
    return cell


def _several(captions: Sequence[str], tag: str, *, strip: bool = True, drawn: int = DRAWN) -> Text:
    found, notes = _filled(captions)
    if not found:
        raise Unusable("no_caption", "the list of captions is empty")
    _check(found)
    if len(found) < drawn:
        notes = (*notes, "short")
    return Text(joined(found, tag, strip=strip), notes)


def _filled(captions: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Put other captions of the list into the places of empty ones, which would become '.'."""
    good = [caption for caption in captions if caption.strip(_NOTHING)]
    if not good or len(good) == len(captions):
        return good, ()
    return [good[i % len(good)] for i in range(len(captions))], ("filled",)


def _check(captions: Sequence[str]) -> None:
    for caption in captions:
        if mark := next((mark for mark in MARKS if mark in caption), None):
            raise Unusable("mark_in_text", f"it contains {mark!r}, at which the training loader would cut it")
