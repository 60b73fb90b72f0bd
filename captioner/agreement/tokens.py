"""Text → tokens: normalised words with their places in the original text.

Words are lower case, American spelling and singular, so that vocabularies need one form of each. Both sides (captions and
vocabularies) go through the same functions: a lemma that is no English word ("len" for "lens") does no harm.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")

_TOKEN = re.compile(
    r"""
    \d+(?:[.,]\d+)*                            # 12, 1.5, 1,024
    | [^\W\d_][^\W_]*(?:['][^\W_]+)*           # word, T2, isn't, patient's
    | (?<![^\W_])-+ | -+(?![^\W_])             # a dash; the hyphen inside a word only joins
    | [^\w\s-]
    """,
    re.VERBOSE,
)
_FOLD = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u2032\u0060\u00b4", "'"),
        **dict.fromkeys("\u2010\u2011\u00ad", "-"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    }
)
_DASHES = "\u2012\u2013\u2014\u2015\u2212"
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(slots=True)
class Tokens:
    """A text's words.

    Attributes:
        text: the original.
        words: normalised, in order.
        distinct: the same, each once: what most rules ask first is whether any word that they know is there.
    """

    text: str
    words: list[str]
    distinct: frozenset[str]
    _places: tuple[list[int], list[int]] | None = field(default=None, init=False)
    _opening: set[int] | None = field(default=None, init=False)

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.words)

    @property
    def starts(self) -> list[int]:
        """For each token the first of its characters in the original text."""
        return (self._places or self._locate())[0]

    @property
    def ends(self) -> list[int]:
        """For each token the character after its last in the original text."""
        return (self._places or self._locate())[1]

    def _locate(self) -> tuple[list[int], list[int]]:
        """Find the tokens' places: few texts but those at fault need them."""
        plain, origins = (self.text, None) if _is_plain(self.text) else _normalise(self.text)
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for piece in plain.split():
            at = plain.index(piece, at)
            for start, end in _cuts[piece]:
                starts.append(at + start)
                ends.append(at + end)
            at += len(piece)
        if origins is not None:
            starts, ends = [origins[k][0] for k in starts], [origins[k - 1][1] for k in ends]
        self._places = starts, ends
        return self._places

    def parted(self, i: int) -> bool:
        """Say whether white space stands between token ``i`` and the next."""
        if self._opening is None:
            self._opening = set()
            at = 0
            for piece in _pieces(self.text):
                self._opening.add(at)
                at += len(_forms[piece])
        return i + 1 in self._opening

    def hyphenated(self, i: int) -> bool:
        """Say whether token ``i`` is joined to the one before it: ``free`` in ``tumour-free``."""
        return i > 0 and self.starts[i] == self.ends[i - 1] + 1 and not self.text[self.ends[i - 1]].isspace()


class Kind:
    """Words that have something in common, such as an ending. Each is looked at once, since most come again and again.

    Args:
        holds: says whether a word belongs.
    """

    def __init__(self, holds: Callable[[str], bool]) -> None:
        self._holds = holds
        self._others: set[str] = set()

    def among(self, words: frozenset[str]) -> list[str]:
        """Return those that belong."""
        found = []
        for word in words - self._others:
            if self._holds(word):
                found.append(word)
            elif len(self._others) < _FORMS_LIMIT:
                self._others.add(word)
        return found


def tokenize(text: str) -> Tokens:
    """Return the tokens of any text, in one pass."""
    # No token crosses white space, and most pieces of a text have been seen before.
    words = list(itertools.chain.from_iterable(map(_forms.__getitem__, _pieces(text))))
    return Tokens(text, words, frozenset(words))


def _pieces(text: str) -> list[str]:
    return (text if _is_plain(text) else _normalise(text)[0]).split()


def _is_plain(text: str) -> bool:
    """Say whether a text is in its compatibility form already."""
    return text.isascii() and (text.isprintable() or not _INVISIBLE.search(text))


def phrase(text: str) -> tuple[str, ...]:
    """Return a vocabulary phrase as the words that :func:`tokenize` would make of it."""
    return tuple(tokenize(text).words)


def _normalise(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text in compatibility form, and for each of its characters the range that it came from."""
    out: list[str] = []
    places: list[tuple[int, int]] = []
    for i, char in enumerate(text):
        if char.isascii():
            new = char if char >= " " or char in "\t\n\r" else ""
        elif char in _DASHES:
            # Typographic dashes join numbers and words as hyphens do, unless spaces surround them.
            new = "-"
        elif _INVISIBLE.match(char):
            new = ""
        else:
            new = unicodedata.normalize("NFKC", char.translate(_FOLD)).translate(_FOLD)
            if unicodedata.combining(new[0]) and out:
                joined = unicodedata.normalize("NFC", out[-1] + new)
                if len(joined) == 1:
                    out[-1] = joined
                places[-1] = (places[-1][0], i + 1)
                new = ""
        out.extend(new)
        places.extend([(i, i + 1)] * len(new))
    return "".join(out), places


_FORMS_LIMIT = 200_000
_LONGEST_KEPT = 40


class _Pieces(dict[str, tuple[_T, ...]]):
    """What pieces of text without white space consist of, remembered."""

    def __init__(self, learn: Callable[[str], Iterable[_T]]) -> None:
        super().__init__()
        self._learn = learn

    def __missing__(self, piece: str) -> tuple[_T, ...]:
        """Look at a piece for the first time."""
        found = tuple(self._learn(piece))
        if len(self) < _FORMS_LIMIT and len(piece) <= _LONGEST_KEPT:
            self[piece] = found
        return found


def _words(piece: str) -> Iterator[str]:
    """Return the normalised words of a piece of text."""
    return (form for raw in _TOKEN.findall(piece) for form in _analyse(raw.lower()))


def _ranges(piece: str) -> Iterator[tuple[int, int]]:
    """Return where in a piece each of its words stands."""
    return (match.span() for match in _TOKEN.finditer(piece) for _ in _analyse(match.group().lower()))


_forms = _Pieces(_words)
_cuts = _Pieces(_ranges)


_CONTRACTIONS = {
    "cannot": ("can", "not"), "can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("shall", "not"),
    "cant": ("can", "not"), "dont": ("do", "not"), "isnt": ("is", "not"), "doesnt": ("does", "not"), "it's": ("it", "is"),
    "there's": ("there", "is"), "that's": ("that", "is"), "i'm": ("i", "am"), "nonetheless": ("nonetheless",),
    "none": ("none",), "nonagenarian": ("nonagenarian",), "o'clock": ("o'clock",), "here's": ("here", "is"),
}  # fmt: skip


def _analyse(word: str) -> tuple[str, ...]:
    known = _CONTRACTIONS.get(word)
    if known:
        return known
    if "'" in word:
        if word.endswith("n't") and len(word) > 3:
            return (word[:-3], "not")
        stem, _, rest = word.partition("'")
        if not stem:
            return (word,)  # a quotation mark; no token may be empty
        if rest in ("s", ""):
            return (lemma(stem),)
        return (stem, *(("will",) if rest == "ll" else ("are",) if rest == "re" else ("have",) if rest == "ve" else ()))
    if word.startswith("non") and len(word) > 7 and word.isalpha():
        return ("non", lemma(word[3:]))
    return (lemma(word),)


_BRITISH = (
    (re.compile(r"oedem"), "edem"),
    (re.compile(r"oesoph"), "esoph"),
    (re.compile(r"oestr"), "estr"),
    (re.compile(r"(?<=n|h)oea"), "ea"),
    (re.compile(r"haem"), "hem"),
    (re.compile(r"aem(?=i)"), "em"),
    (re.compile(r"^aetio"), "etio"),
    (re.compile(r"^(caec|faec|paed|anaes|orthopaed|gynaec|palaeo)"), lambda m: m.group().replace("ae", "e")),
    (re.compile(r"^(tumo|colo|vapo|humo|odo|discolo|fav|favo|behavio|neighbo|harbo|labo)ur"), r"\1r"),
    (re.compile(r"(?<=[a-z]{3})(?<!rw)(?<!kew)(?<!ompr)(?<!ompromis)(?<!compr)(?<!omprom)(?<!xerc)(?<!prec)(?<!surpr)(?<!prom)(?<!rem)(?<!supr)(?<!superv)(?<!bru)(?<!noi)(?<!rai)is(?=(?:e|ed|es|ing|ation|ations)$)"), "iz"),
    (re.compile(r"(?<=[a-z]{3})ys(?=(?:e|ed|es|ing)$)"), "yz"),
    (re.compile(r"^(cent|fib|lit|met|tit|calib|sab)re(s?)$"), r"\1er\2"),
    (re.compile(r"^grey"), "gray"),
    (re.compile(r"^leuco"), "leuko"),
    (re.compile(r"sulph"), "sulf"),
    (re.compile(r"ll(?=(?:ed|ing)$)"), "l"),
    (re.compile(r"^calibre"), "caliber"),
    (re.compile(r"ae(?=$)"), "a"),
    (re.compile(r"disk"), "disc"),
    (re.compile(r"^mould"), "mold"),
)  # fmt: skip
_MAYBE_BRITISH = re.compile(r"ae|oe|ou|is|ys|re|grey|leuco|sulph|ll|disk")

_IRREGULAR = {
    "pneumothoraces": "pneumothorax", "thoraces": "thorax", "hydropneumothoraces": "hydropneumothorax",
    "hemothoraces": "hemothorax", "apices": "apex", "cortices": "cortex", "cervices": "cervix",
    "calices": "calyx", "calyces": "calyx", "viscera": "viscus", "hila": "hilum", "diverticula": "diverticulum",
    "septa": "septum", "ostia": "ostium", "atria": "atrium", "acetabula": "acetabulum", "labra": "labrum",
    "menisci": "meniscus", "emboli": "embolus", "thrombi": "thrombus", "bronchi": "bronchus", "alveoli": "alveolus",
    "calculi": "calculus", "nuclei": "nucleus", "foci": "focus", "fundi": "fundus", "sulci": "sulcus", "gyri": "gyrus",
    "tori": "torus", "villi": "villus", "nevi": "nevus", "naevi": "nevus", "naevus": "nevus", "rami": "ramus",
    "foramina": "foramen", "lumina": "lumen", "data": "data", "criteria": "criterion", "bacteria": "bacterium",
    "feet": "foot", "teeth": "tooth", "women": "woman", "men": "man", "children": "child", "lives": "life",
    "vertebrae": "vertebra", "pleurae": "pleura", "maculae": "macula", "bullae": "bulla", "scapulae": "scapula",
    "fistulae": "fistula", "bursae": "bursa", "papillae": "papilla", "conjunctivae": "conjunctiva", "retinae": "retina",
    "vertebra": "vertebra", "biopsies": "biopsy", "indices": "index", "matrices": "matrix", "appendices": "appendix",
    "varices": "varix", "this": "this", "is": "is", "was": "was", "has": "has", "does": "does", "as": "as", "us": "us",
    "its": "its", "his": "his", "versus": "versus", "vs": "versus", "plus": "plus", "thus": "thus", "gas": "gas",
    "pancreas": "pancreas", "diabetes": "diabetes", "lens": "lens", "lenses": "lens", "axes": "axis", "pus": "pus",
    "ascites": "ascites", "herpes": "herpes", "iris": "iris", "series": "series", "species": "species",
    "drusen": "drusen", "ms": "ms", "perhaps": "perhaps", "unless": "unless", "across": "across", "less": "less",
    "always": "always", "various": "various", "yes": "yes", "bus": "bus", "os": "os", "metastases": "metastasis",
    "uses": "use", "cases": "case", "diseases": "disease", "increases": "increase", "decreases": "decrease",
    "causes": "cause", "releases": "release", "responses": "response", "pulses": "pulse", "collapses": "collapse",
    "discloses": "disclose", "traces": "trace", "bases": "base", "spaces": "space", "phases": "phase",
    "noses": "nose", "houses": "house", "cataracts": "cataract", "analyzes": "analyze", "glasses": "glass",
    "biceps": "biceps", "triceps": "triceps", "quadriceps": "quadriceps", "forceps": "forceps", "sepsis": "sepsis",
    "lies": "lie", "dies": "die", "ties": "tie", "sometimes": "sometimes", "besides": "besides", "towards": "towards", "hers": "hers", "cups": "cup", "goes": "go",
}  # fmt: skip

_SIS = re.compile(r"(?:a|o|e|y|p)ses$")


def lemma(word: str) -> str:
    """Return a lower-case word in American spelling and singular; regular rules and a table, no stemmer."""
    if _MAYBE_BRITISH.search(word):
        for pattern, new in _BRITISH:
            word = pattern.sub(new, word)
    known = _IRREGULAR.get(word)
    if known is not None:
        return known
    if len(word) < 4 or word[-1] not in "sae":
        return word
    if word[-1] == "s":
        if word.endswith(("ss", "us", "is", "'s")):
            return word
        if word.endswith("ies"):
            return word[:-3] + "y"
        if word.endswith(("xes", "ches", "shes", "sses", "zes")):
            return word[:-2]
        if _SIS.search(word) and len(word) > 6:
            return word[:-2] + "is"
        return word[:-1]
    if word.endswith("omata"):
        return word[:-2]
    return word
