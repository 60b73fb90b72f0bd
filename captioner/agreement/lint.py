"""A look at a schema before any caption is written for it: what would go wrong, found while it costs nothing."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from captioner.agreement import triggers
from captioner.agreement.issues import CODES
from captioner.agreement.tokens import phrase
from captioner.schema import LabelClass, LabelSchema, Library, fold_label, load_library


@dataclass(frozen=True, slots=True)
class LintProblem:
    """Something wrong with a schema.

    Attributes:
        level: an ``error`` stops a run before its first request; a ``warning`` is worth a look.
        where: the class and the field.
        message: what is wrong.
        fix: what to do.
    """

    level: Literal["error", "warning"]
    where: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}: {self.fix}"

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return asdict(self)


_SHORT = 4
_KNOWN_SHORT = frozenset(
    """mass cyst tear mole scar edema gout wart boil goit lung hip knee eye ear jaw skin bone fat mucus ulcer polyp node
    drain tube line clip cord disc disk bile duct dura iris lens neck head hand foot arm leg toe heel nail vein nevi burn bite
    pus gas air clot cell wall uvea skull colon liver ovary acne rash corn stye coma tics sac pore hair lip gum vulva anus
    spur cup nodule crack bleb bulla pit rim flap plug gut womb pons sella cecum ileum rectum""".split()
)
_NEGATIVE = re.compile(r"^(?:no|non|not|without|absent|negative)\b|[-_ ](?:free|negative)$", re.IGNORECASE)
_NORMAL = re.compile(r"\b(?:normal|healthy|unremarkable)\b", re.IGNORECASE)
_DISEASE = re.compile(r"\b(?:cancer|carcinoma|tumou?r|malignan\w+|disease|lesion)\b", re.IGNORECASE)
_CUT = re.compile(r"(?:[-_/,&(]|\b(?:of|and|with|the|in|or|to|for))\s*$", re.IGNORECASE)
_COMMON = frozenset(
    """and or of the in with without non due to other acute chronic mild moderate severe normal abnormal left right upper lower
    focal diffuse tissue changes change lesion pathology disease abnormality organ image""".split()
)


def lint(schema: LabelSchema, library: Library | None = None) -> list[LintProblem]:
    """Return what is wrong with a schema, errors first; an empty list is a clean bill.

    Args:
        schema: the schema to look at.
        library: concepts, modalities and anatomies; the ones that ship if left out.
    """
    library = library or load_library()
    problems = [
        problem
        for rule in (_abbreviations, _names, _inside, _owners, _absences, _relations, _groups, _places, _details)
        for problem in rule(schema, library)
    ]
    return sorted(dict.fromkeys(problems), key=lambda p: (p.level != "error",))


def _at(item: LabelClass, field: str) -> str:
    return f"class {item.code!r}: {field}"


def _abbreviations(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    """A short name that nobody spelt out: "af" is an ankle and foot, and an atrial fibrillation."""
    for item in schema.classes:
        name = item.name
        letters = re.sub(r"[^A-Za-z]", "", name)
        bare = fold_label(name.replace("_", " "))
        if len(letters) <= _SHORT and bare not in _KNOWN_SHORT and phrase(name) not in _words_of(library):
            yield LintProblem(
                "error",
                _at(item, "name"),
                f"{name!r} looks like an abbreviation without its expansion",
                "give the clinical name in full, and put the short form into 'abbreviations'",
            )
        elif name.isupper() and " " not in name and len(letters) > 1:
            yield LintProblem(
                "error",
                _at(item, "name"),
                f"{name!r} is written in capitals only, as codes are",
                "give the clinical name as a sentence would have it, and keep the code in 'code'",
            )
        for wording in item.synonyms:
            if (
                len(wording) <= _SHORT
                and wording.lower() not in _KNOWN_SHORT
                and wording.isalpha()
                and phrase(wording) not in _words_of(library)
            ):
                yield LintProblem(
                    "warning",
                    _at(item, "synonyms"),
                    f"{wording!r} is short enough to mean other things",
                    "move it to 'abbreviations', where capitals count, or leave it out",
                )
        for wording in item.abbreviations:
            if not any(c.isupper() for c in wording):
                yield LintProblem(
                    "warning",
                    _at(item, "abbreviations"),
                    f"{wording!r} has no capitals, so it is no abbreviation that can be told from a word",
                    "write it as captions do, or move it to 'synonyms'",
                )


def _words_of(library: Library) -> frozenset[tuple[str, ...]]:
    key = id(library)
    if key not in _library_words:
        _library_words.clear()
        _library_words[key] = frozenset(
            phrase(w) for c in library.concepts.values() for w in (c.name, *c.synonyms) if " ... " not in w
        )
    return _library_words[key]


_library_words: dict[int, frozenset[tuple[str, ...]]] = {}


def _names(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    """Names that are codes, cut off, or misspelt."""
    known = _spelling(library)
    for item in schema.classes:
        for wording in (item.name, *item.synonyms):
            if "_" in wording or re.search(r"[a-z][A-Z]", wording):
                yield LintProblem(
                    "error",
                    _at(item, "name" if wording == item.name else "synonyms"),
                    f"{wording!r} is a code, not a wording",
                    "write it as a caption would say it",
                )
            elif _CUT.search(wording):
                yield LintProblem(
                    "error",
                    _at(item, "name" if wording == item.name else "synonyms"),
                    f"{wording!r} looks cut off",
                    "give it in full",
                )
        if item.concept is not None:
            continue
        for word in re.findall(r"[A-Za-z]{7,}", item.name):
            lower = word.lower()
            if (phrase(lower)[-1:] and phrase(lower)[-1] in known) or lower in known or lower in _COMMON:
                continue
            if lower.endswith("ly") and lower.removesuffix("ly") in known:
                continue
            near = _nearest(lower, known)
            if near is not None:
                yield LintProblem("error", _at(item, "name"), f"{word!r} may be misspelt", f"did you mean {near!r}?")


def _spelling(library: Library) -> frozenset[str]:
    key = -id(library)
    if key not in _library_spelling:
        _library_spelling.clear()
        words: Counter[str] = Counter()
        for concept in library.concepts.values():
            for wording in (concept.name, *concept.synonyms, *concept.structure, *concept.signs):
                words.update(phrase(wording))
        for anatomy in library.anatomies.values():
            for wording in (anatomy.name, anatomy.adjective or "", *anatomy.synonyms, *anatomy.parts):
                words.update(phrase(wording))
        _library_spelling[key] = frozenset(words)
    return _library_spelling[key]


_library_spelling: dict[int, frozenset[str]] = {}


def _nearest(word: str, known: frozenset[str]) -> str | None:
    """Return a known word at one edit's distance (or two, for long words); None if there is none."""
    first = [k for k in known if abs(len(k) - len(word)) <= 2 and k[:1] == word[:1]]
    found = difflib.get_close_matches(word, first, n=1, cutoff=0.86)
    return found[0] if found and found[0] != word else None


def _inside(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    """One class's name inside another's, where neither implies the other."""
    names = [(item, phrase(item.name)) for item in schema.classes]
    for item, words in names:
        for other, longer in names:
            if (
                item is other
                or len(words) >= len(longer)
                or not words
                or (item.concept == other.concept and item.concept)
            ):
                continue
            if (schema.anatomy_of(item), schema.modality_of(item)) != (
                schema.anatomy_of(other),
                schema.modality_of(other),
            ):
                continue
            if not any(longer[i : i + len(words)] == words for i in range(len(longer) - len(words) + 1)):
                continue
            if (
                _implies(schema, library, other, item)
                or other.kind == "absence"
                or (item.group and item.group == other.group)
            ):
                continue
            yield LintProblem(
                "warning",
                _at(item, "name"),
                f"{item.name!r} stands inside {other.name!r} (class {other.code!r}), which does not imply it",
                f"add {item.code!r} to the parents of {other.code!r} if it does, or choose a name that tells them apart",
            )


def _implies(schema: LabelSchema, library: Library, a: LabelClass, b: LabelClass) -> bool:
    queue, seen = list(a.parents), set()
    while queue:
        target = queue.pop()
        if target in (b.code, b.concept):
            return True
        if target in seen:
            continue
        seen.add(target)
        if target in schema:
            queue.extend(schema[target].parents)
        elif target in library.concepts:
            queue.extend(library.concepts[target].parents)
    return False


def _owners(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    """One wording, two classes of the same place: a caption that says it says neither."""
    owners: dict[tuple[str, ...], list[LabelClass]] = {}
    texts: dict[tuple[str, ...], str] = {}
    for item in schema.classes:
        for wording in dict.fromkeys((item.name, *item.synonyms)):
            words = phrase(wording)
            texts.setdefault(words, wording)
            mine = owners.setdefault(words, [])
            if item not in mine:
                mine.append(item)
    for words, items in owners.items():
        for i, a in enumerate(items):
            for b in items[i + 1 :]:
                if (schema.anatomy_of(a), schema.modality_of(a)) != (schema.anatomy_of(b), schema.modality_of(b)):
                    continue
                if a.concept is not None and a.concept == b.concept:
                    continue
                if _implies(schema, library, a, b) or _implies(schema, library, b, a):
                    continue
                yield LintProblem(
                    "error",
                    f"classes {a.code!r} and {b.code!r}: synonyms",
                    f"{texts[words]!r} belongs to both",
                    "leave it to one of them, or to neither",
                )


def _absences(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    """Names that deny, or that call a disease normal."""
    for item in schema.classes:
        if _NEGATIVE.search(item.name) and item.kind not in ("absence", "normal") and not _is_known(item, library):
            yield LintProblem(
                "error",
                _at(item, "kind"),
                f"{item.name!r} is worded as an absence, but its kind is {item.kind!r}",
                "set 'kind: absence' and say in 'denies' what is absent, or 'kind: normal'",
            )
        if _NORMAL.search(item.name) and item.kind not in ("normal", "organ", "tissue", "absence"):
            yield LintProblem(
                "error",
                _at(item, "kind"),
                f"{item.name!r} is worded as normal, but its kind is {item.kind!r}",
                "set 'kind: normal', or choose another name",
            )
        if (
            item.kind in ("normal", "absence", "tissue")
            and _DISEASE.search(item.name)
            and not _NEGATIVE.search(item.name)
            and not _NORMAL.search(item.name)
            and item.concept is None
        ):
            yield LintProblem(
                "warning",
                _at(item, "name"),
                f"{item.name!r} names a disease, but its kind is {item.kind!r}",
                "check the kind, and add a blocker to the class that owns the disease's name",
            )
    normals: dict[tuple[str, str], list[str]] = {}
    for item in schema.classes:
        if item.kind == "normal":
            normals.setdefault((schema.anatomy_of(item), schema.modality_of(item)), []).append(item.code)
    for codes in normals.values():
        if len(codes) > 1:
            yield LintProblem(
                "error",
                f"classes {', '.join(map(repr, codes))}: kind",
                "more than one class is normal for the same image",
                "keep one, or make the other an absence",
            )


def _is_known(item: LabelClass, library: Library) -> bool:
    """Say whether a name such as "non-small cell carcinoma" is a clinical one."""
    return item.concept is not None or phrase(item.name) in _words_of(library)


def _relations(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    for item in schema.classes:
        if item.code in item.parents or (item.concept is not None and item.concept in item.parents):
            yield LintProblem("error", _at(item, "parents"), "a class cannot imply itself", "take it out")
        elif any(_implies(schema, library, item, item) for _ in (0,)):
            yield LintProblem("error", _at(item, "parents"), "the parents go round in a circle", "break the circle")
        for sign in item.signs:
            if "." in sign and " " not in sign and sign not in library.concepts:
                yield LintProblem(
                    "error",
                    _at(item, "signs"),
                    f"there is no concept {sign!r}",
                    "correct the id, or write the sign's wording",
                )


def _groups(schema: LabelSchema, _: Library) -> Iterator[LintProblem]:
    groups: dict[str, list[LabelClass]] = {}
    for item in schema.classes:
        if item.group:
            groups.setdefault(item.group, []).append(item)
        elif item.kind == "grade":
            yield LintProblem(
                "error",
                _at(item, "group"),
                "a grade belongs to a scale, and no group names it",
                "set 'group', and 'level' if the scale is ordered",
            )
    for group, items in groups.items():
        levels = Counter(
            (schema.anatomy_of(i), schema.modality_of(i), i.level)
            for i in items
            if i.level is not None and i.kind == "grade"
        )
        for (*_place, level), count in levels.items():
            if count > 1:
                yield LintProblem(
                    "error",
                    f"group {group!r}: level",
                    f"level {level} stands {count} times",
                    "give each step its own level",
                )


def _places(schema: LabelSchema, library: Library) -> Iterator[LintProblem]:
    """Classes that the built-in writer cannot caption: it needs the view of a modality and the name of a place."""
    for item in schema.classes:
        modality, anatomy = schema.modality_of(item), schema.anatomy_of(item)
        if modality not in library.modalities:
            yield LintProblem(
                "error",
                _at(item, "modality"),
                f"there is no modality {modality!r}",
                "use an id of concepts/modalities.yaml",
            )
        if anatomy not in library.anatomies:
            yield LintProblem(
                "error",
                _at(item, "anatomy"),
                f"there is no anatomy {anatomy!r}",
                "use an id of concepts/anatomies.yaml",
            )
    known = {f.partition(".")[0] for f in library.concepts}
    for name in schema.fields:
        if name not in known:
            yield LintProblem(
                "error", "fields", f"there is no concept field {name!r}", f"use some of: {', '.join(sorted(known))}"
            )
    if not schema.fields:
        yield LintProblem(
            "warning",
            "fields",
            "no field of concepts is named, so diseases that are no class are hardly noticed",
            "name the fields whose diseases a caption could wrongly mention",
        )


def _details(schema: LabelSchema, _: Library) -> Iterator[LintProblem]:
    """Settings that name nothing."""
    for key in schema.levels:
        code, _dot, detail = key.partition(".")
        if code not in CODES or (detail and detail not in (*triggers.KINDS, "patient")):
            yield LintProblem(
                "error",
                "levels",
                f"{key!r} is no code of a check",
                f"use one of: {', '.join(CODES)}; or invented_detail.KIND",
            )
    for name, attribute in schema.attributes.items():
        for kind in attribute.details:
            if kind not in triggers.KINDS:
                yield LintProblem(
                    "error",
                    f"attribute {name!r}: details",
                    f"{kind!r} is no kind of detail",
                    f"use some of: {', '.join(triggers.KINDS)}",
                )
