"""What a caption may call a finding, a denied finding, an organ and an image: only wordings that say no more than the label."""

import functools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from captioner.schema import Anatomy, Concept, LabelClass, LabelSchema, Library, Modality
from captioner.writer.grammar import (
    NounPhrase,
    Number,
    guess_number,
    head,
    is_initialism,
    is_nominal,
    known_number,
    singulars,
    vocabulary,
    words,
)

# A synonym list holds narrower wordings too (a viral pneumonia is a pneumonia). A synonym is used only if each of its
# words comes from the name (in any form), from the anatomy or from this list, so that it cannot add a cause, a place,
# a time, a degree or a subtype.
_NEUTRAL = vocabulary(
    """
    a abnormality abnormal alteration an area by change damage defect disease disorder due enlarged enlargement finding
    for growth in increased increase involvement lesion mass of opacity opacification pathology pathological pathologic process region
    related sign silhouette size the to type with
    """
)
# Words that stand for each other beside those that look alike.
_ALIKE = tuple(
    vocabulary(group)
    for group in (
        "malignant malignancy cancer cancerous",
        "tumor tumorous tumoral neoplasm neoplastic",
        "hemorrhage hemorrhagic bleeding",
        "edema edematous swelling swollen",
        "effusion fluid",
        "atelectasis collapse collapsed",
        "stone calculus",
        "vessel vascular",
        "disc disk",
        "nevus naevus",
        "tissue parenchyma mucosa",
    )
)
# "A collapsed lung" says that it is one of two, and that all of it is collapsed; labels of an image do not.
_PAIRED = vocabulary("lung lungs kidney kidneys eye eyes breast breasts ovary ovaries adrenal adrenals hemithorax")
# Too little to stand for a structure.
_VAGUE = vocabulary("artery arteries joint vessel vessels")
# What a wording of a normal class may begin with: they all say the same.
_HEALTHY = re.compile(r"(?:normal|healthy|unremarkable|benign|non-?(?:malignant|cancerous|neoplastic|tumou?rous))\b")
# Words that may stand in a view and beside it.
_FUNCTION = vocabulary("of the a an and in on with to by from")
_BARE_PATTERNS = (r"\s+of the \{anatomy\}", r"\{anatomy\}\s+", r"\{adjective\}\s+")
# Modalities that English uses without an article: "seen on MRI", "on ultrasound".
_ARTICLELESS = re.compile(r"(?:MRI|CT|OCT|PET|ultrasound|radiography|photography|endoscopy|dermoscopy|angiography)")
_IN = re.compile(r"section|photomicrograph|photograph|image|picture|frame|view|field")


@dataclass(frozen=True, slots=True)
class View:
    """A way to name the image.

    Attributes:
        text: without article, such as "CT scan of the abdomen".
        anatomy: whether the text names the body part (or the modality implies it).
    """

    text: str
    anatomy: bool

    @property
    def preposition(self) -> str:
        """What stands before it: findings are seen *on* a radiograph, *in* a photomicrograph."""
        return "in" if _IN.search(self.text.split(" of ")[0]) else "on"

    def article_free(self) -> bool:
        """Say whether it can stand without an article: "on MRI of the knee"."""
        return _ARTICLELESS.fullmatch(self.text.split(" of the ")[0].split()[-1]) is not None


def views(modality: Modality, anatomy: Anatomy) -> tuple[View, ...]:
    """Return the ways to name an image of a modality and an anatomy: those that name the anatomy, then those without."""
    patterns = dict.fromkeys((modality.view, *modality.views))
    values = {"anatomy": anatomy.name, "adjective": anatomy.adjective or anatomy.name}
    full: dict[str, None] = {}
    bare: dict[str, None] = {}
    for pattern in patterns:
        text = _fill(pattern, values)
        full[text] = None
        stripped = pattern
        for what in _BARE_PATTERNS:
            stripped = re.sub(what, "", stripped)
        if stripped != pattern and "{" not in stripped:
            bare[stripped] = None
    return (*(View(t, anatomy=True) for t in full), *(View(t, anatomy=False) for t in bare if t not in full))


def _fill(pattern: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(anatomy|adjective)\}", lambda m: values[m[1]], pattern)


class Wordings:
    """The wordings of one schema's classes in one modality and anatomy.

    Args:
        schema: for relations to other classes.
        library: for relations to concepts, and for anatomies.
        anatomy: id of the body part that the image shows.
    """

    def __init__(self, schema: LabelSchema, library: Library, anatomy: str) -> None:
        self._schema = schema
        self._library = library
        self._anatomy = library.anatomies[anatomy]
        self._known: dict[str, tuple[NounPhrase, ...]] = {}
        near = [a for i, a in library.anatomies.items() if i in self._anatomy.parts or anatomy in a.within]
        self._places = {
            t for a in (self._anatomy, *near) for w in (a.name, a.adjective or "", *a.synonyms) for t in _stems(w)
        }
        self._anatomy_forms = {" ".join(words(w)) for w in (self._anatomy.name, self._anatomy.adjective or "")} - {""}
        whole = () if " and " in self._anatomy.name else self._anatomy.synonyms  # an ankle is not an ankle and foot
        self._anatomy_names = {self._anatomy.name, *whole}

    def positive(self, item: LabelClass) -> tuple[NounPhrase, ...]:
        """Return noun phrases that assert a class, its name first."""
        found = self._known.get(item.code)
        if found is None:
            found = self._known[item.code] = self._positive(item)
        return found

    def _positive(self, concept: Concept) -> tuple[NounPhrase, ...]:
        if concept.kind == "normal":
            return self._healthy(concept)
        if concept.kind == "organ":
            return tuple(NounPhrase(p.text, p.number, definite=True) for p in self._phrases(concept))
        phrases = [*self._phrases(concept), *self._of_structure(concept)]
        return tuple({p.text.casefold(): p for p in reversed(phrases)}.values())[::-1]

    def denied(self, concept: Concept, said: Collection[str] = ()) -> tuple[NounPhrase, ...]:
        """Return noun phrases for what an absence denies, as they stand after "no"; see :meth:`denial`."""
        target = concept.denies or ""
        denied: Concept = self._schema[target] if target in self._schema else self._library.concepts[target]
        return self.denial(denied, said) or self._phrases(denied)[:1]

    def denial(self, concept: Concept, said: Collection[str] = ()) -> tuple[NounPhrase, ...]:
        """Return noun phrases with which a concept can be denied.

        To deny a wider wording is to say more ("no retinopathy" for "no diabetic retinopathy"), so none leaves out a
        word of the name, unless the view says it (the "brain" of "brain tumor").

        Args:
            concept: what is not there.
            said: wordings of what is there; none of them may be denied along with it.
        """
        name = _stems(concept.name)

        def usable(text: str) -> bool:
            if is_initialism(text):
                return not said  # "no DME" is plain on its own, and lost among findings
            if " due to " in text or not _same_head(text, concept.name):
                return False  # "no edema due to diabetes": is it the edema that is denied, or its cause?
            stems = _stems(text)
            return all(n in self._places or any(n == s or _related(n, s) for s in stems) for n in name)

        return tuple(
            p for p in self._phrases(concept) if usable(p.text) and not any(_stems(p.text) <= _stems(s) for s in said)
        )

    def implies(self, child: LabelClass, parent: LabelClass) -> bool:
        """Say whether a class implies another, over any number of steps."""
        wanted = {parent.code, parent.concept} - {None}
        seen: set[str] = set()
        pending = list(child.parents)
        while pending:
            target = pending.pop()
            if target in wanted:
                return child.code != parent.code
            if target not in seen:
                seen.add(target)
                item: Concept | None = (
                    self._schema[target] if target in self._schema else self._library.concepts.get(target)
                )
                pending += item.parents if item else ()
        return False

    def structures(self, concept: Concept) -> tuple[NounPhrase, ...]:
        """Return the structures of an "X pathology" class that can be the subject of "is abnormal"."""
        found = []
        for text in concept.structure:
            if any(other.startswith(f"{text} ") for other in concept.structure) or text in _VAGUE:
                continue  # "anterior cruciate" for the anterior cruciate ligament
            if any(single in concept.structure for single in singulars(text)):
                continue  # "the menisci are abnormal" would say it of both
            adjective = re.search(r"(?:al|ar|ic|ous|ine|ary|ian)$", text) and not text.endswith(("canal", "spine"))
            if not adjective and self._says_no_more(text, concept.name):
                found.append(NounPhrase(text, _structure_number(text), definite=True))
        return tuple(found)

    def names_anatomy(self, text: str) -> bool:
        """Say whether a wording holds the anatomy's own name or adjective."""
        padded = f" {' '.join(words(text))} "
        return any(f" {form} " in padded for form in self._anatomy_forms)

    def _healthy(self, concept: Concept) -> tuple[NounPhrase, ...]:
        """Return noun phrases of a normal class ("normal lung tissue"); none if it has only denials ("no finding")."""
        found = {}
        for text in (concept.name, *concept.synonyms):
            start = _HEALTHY.match(text)
            rest = text[start.end() :].strip() if start else ""
            if not rest or not (is_nominal(rest) or rest in self._anatomy_names):
                continue
            number = guess_number(rest)
            whole = number == "count" and rest in self._anatomy_names
            if whole and not text.startswith(("normal", "healthy", "unremarkable")):
                continue  # "a benign lung"
            if self._says_no_more(rest, concept.name):
                found[text] = NounPhrase(text, number)
        return tuple(found.values())

    def _of_structure(self, concept: Concept) -> Iterable[NounPhrase]:
        for x in self.structures(concept):
            yield NounPhrase(f"pathology of the {x.text}", "mass")
            yield NounPhrase(f"abnormality of the {x.text}", "count")
            yield NounPhrase(f"abnormal {x.text}", x.number)

    def _phrases(self, concept: Concept) -> tuple[NounPhrase, ...]:
        name = concept.name
        number = concept.number or guess_number(name)
        found = {_spelling(name): NounPhrase(name, number)}
        for text in (*concept.synonyms, *concept.abbreviations):
            if not is_nominal(text) or head(text) in _PAIRED or self._ungraded(text, concept):
                continue
            if is_initialism(text):
                if any(_abbreviates(text, p.text) for p in found.values()):
                    found.setdefault(_spelling(text), NounPhrase(text, number))
            elif self._says_no_more(text, name):
                phrase = NounPhrase(text, _number_of(text, number, name))
                if {phrase.number, number} != {"count", "plural"} or head(text) == "changes":
                    found.setdefault(_spelling(text), phrase)
        return tuple(found.values())

    def _ungraded(self, text: str, concept: Concept) -> bool:
        """Say whether a wording of a grade would do for another grade of its scale as well."""
        others = (c for c in self._schema.classes if concept.kind == "grade" and c.kind == "grade")
        stems = _stems(text)

        def would_do_for(name: str) -> bool:
            known = _stems(name)
            return all(any(s == k or _related(s, k) for k in known) for s in stems)

        return any(c.group == concept.group and c.name != concept.name and would_do_for(c.name) for c in others)

    def _says_no_more(self, text: str, name: str) -> bool:
        given = _stems(name)
        initials = [w.lower() for w in text.split() if is_initialism(w) and _abbreviates(w, name)]
        return all(
            stem in given
            or stem in _NEUTRAL
            or stem in self._places
            or stem in initials
            or any(_related(stem, g) for g in given)
            for stem in _stems(text)
        )


@functools.lru_cache(maxsize=1 << 15)
def jingles(phrase: str, view: str) -> bool:
    """Say whether a phrase and a view share a content word ("brain tumor" on "brain MRI")."""
    said, named = _stems(phrase) - _FUNCTION, _stems(view) - _FUNCTION
    return any(a == b or _related(a, b) for a in said for b in named)


def _spelling(text: str) -> str:
    """Return what two wordings share that differ in case and hyphens alone; the first of them is used."""
    return text.casefold().replace("-", " ")


def _number_of(text: str, number: Number, name: str) -> Number:
    known = known_number(text)
    if head(text) == head(name) or known is None:
        return number
    return known


def _abbreviates(short: str, name: str) -> bool:
    """Say whether the letters of an abbreviation are first letters of a name's words, in order."""
    initials = iter("".join(w[0] for w in re.split(r"[\s/-]+", name.lower()) if w))
    return len(short) > 1 and all(letter in initials for letter in short.lower())


def _same_head(a: str, b: str) -> bool:
    return bool(_stems(head(a)) & _stems(head(b)))


def _structure_number(text: str) -> Number:
    if is_initialism(text):
        return "count"
    return "plural" if " and " in text else guess_number(text)


@functools.lru_cache(maxsize=1 << 13)
def _stems(text: str) -> frozenset[str]:
    """Return the words of a text in one spelling: British digraphs, plurals and hyphens do not count."""
    found = set()
    for token in re.split(r"[\s/-]+", re.sub(r"\bnon[- ]", "non", text.lower())):
        word = (
            token.strip("().,'").replace("haem", "hem").replace("oed", "ed").replace("aem", "em").replace("our", "or")
        )
        word = word.replace("isation", "ization")
        if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
            word = word[:-1]
        if word:
            found.add(word)
    return frozenset(found)


def _related(a: str, b: str) -> bool:
    """Say whether two words are forms of one (five letters in common at the start: atelectasis, atelectatic) or alike."""
    return (len(a) >= 5 and len(b) >= 5 and a[:5] == b[:5]) or any(a in group and b in group for group in _ALIKE)
