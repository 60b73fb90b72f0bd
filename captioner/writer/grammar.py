"""The little English that captions need: noun phrases, articles, agreement and lists."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Number = Literal["count", "mass", "plural"]


def vocabulary(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


# Heads of noun phrases that take "a" or "an", beyond those in -oma, -cyst, -thorax and -cele.
_COUNT = vocabulary(
    """
    abnormality abscess adhesion aneurysm anomaly appearance area band biceps body bulla calculus cap cataract catheter cavity
    clip coalition collection coloboma condition contusion crescent cup cuff cyst defect deformity density deposit device
    detachment diaphragm disc disk disorder disruption disturbance dot effusion embolus exudate fibroid fistula fleck
    focus fold fracture gallbladder gallstone graft granule growth heart herniation hernia hole hyperintensity image
    implant impingement infarct infarction infiltrate injury insufficiency intensity irregularity kidney layer leak lens lesion
    ligament line liver lump lung lymphocyte macroaneurysm macula malformation mass meniscus membrane microaneurysm
    module myoma naevus neoplasm nerve nevus nodule occlusion opacity organ pacemaker pancreas papilla patch pattern phenomenon
    plaque polyp process prosthesis protrusion pterygium pucker quadriceps ratio reaction region reflex retina ring rupture scan
    scar screw shadow shunt sign silhouette spleen spondylolisthesis spot sprain spur stenosis stent stoma stone strain
    streak stroke structure sulcus suture tear tendon thrombus torsion tract triceps tube tumor tumour ulcer valve varix vein vessel
    wire xanthelasma
    """
)
# Heads that take no article, beyond those with one of the endings below.
_MASS = vocabulary(
    """
    adenocarcinoma air ascites atelectasis atrophy bleeding blood bone cancer carcinoma cartilage change collapse consolidation
    coverage cupping damage debris dehiscence destruction diabetes discontinuity disease distention distension dysfunction edema
    effacement emphysema engorgement enlargement epithelium exposure failure fat fluid gas glaucoma haemorrhage haze
    hemorrhage hyperinflation impairment infection involvement ischaemia ischemia leakage loss maculopathy malignancy
    marrow nonperfusion perfusion hypertension mucosa mucus muscle myopia narrowing nicking oedema opacification pallor pathology pleura
    pneumonia pneumoperitoneum pressure prominence redness retinopathy scarring sclerosis skin stroma
    swelling tension thickening tissue tortuosity toxicity trachoma traction trauma uptake wear weakening
    """
)
_PLURAL = vocabulary("bodies changes debris drusen flecks foramina findings lungs menisci metastases opacities pleurae")
_MASS_ENDINGS = (
    *(
        "itis",
        "osis",
        "asis",
        "esis",
        "ysis",
        "emia",
        "aemia",
        "edema",
        "oedema",
        "megaly",
        "pathy",
        "trophy",
        "plasia",
    ),
    *(
        "ectasis",
        "ectasia",
        "malacia",
        "ation",
        "isation",
        "cence",
        "ition",
        "uria",
        "carcinoma",
        "sarcoma",
        "lithiasis",
    ),
    *("ening", "owing", "elling", "arring", "aemia", "plegia", "opia", "stasis", "schisis", "algia", "ality", "amnios"),
    *("phosis", "lordosis", "opsia", "phakia", "rrhage", "rrhea", "atism", "ysema", "pnea", "tropia"),
)
_COUNT_ENDINGS = ("oma", "cyst", "thorax", "cele", "phyte", "lith", "sion")
_PREPOSITIONS = vocabulary(
    "of in on with at from due involving affecting within to by for around about near containing"
)
# A wording with one of these is a clause, a denial or a hedge: it cannot stand where a noun phrase stands.
_NOT_NOMINAL = vocabulary(
    """
    no non not without free absent absence negative never none neither nor is are was were has have had shows show seen
    appears appear looks look be been being this that which there it and/or or versus vs possible likely suspected
    """
)
_WORD = re.compile(r"[^\s]+")
# Letters whose names begin with a vowel, for initialisms: an MRI, an X-ray, an H&E-stained section, a CT scan.
_VOWEL_LETTERS = frozenset("AEFHILMNORSX")
_SPOKEN = 5
_CONSONANT_U = re.compile(r"eu|ewe|one\b|uni(?![nm])|ur[eio]|ut|uv|us[eu]|ub", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A wording and how it behaves in a sentence.

    Attributes:
        text: without article.
        number: decides article and verb.
        definite: takes "the" (an organ, a structure).
    """

    text: str
    number: Number
    definite: bool = False

    def __str__(self) -> str:
        """Return it with its article."""
        if self.definite:
            return f"the {self.text}"
        if self.number != "count":
            return self.text
        return f"an{self.text}" if self.text.startswith("other ") else f"{article(self.text)} {self.text}"


def article(text: str) -> str:
    """Return the indefinite article for a text: by sound, so initialisms go by the names of their letters."""
    first = re.split(r"[\s/]", text, maxsplit=1)[0]
    spelt = first.split("-")[0]
    if re.fullmatch(r"[A-Z](?:[A-Z&0-9+]*[A-Z0-9+])?s?", spelt):
        word = len(spelt) >= _SPOKEN and set(spelt) & set("AEIOU")  # FLAIR is said as a word
        return "an" if spelt[0] in ("AEIOU" if word else _VOWEL_LETTERS) else "a"
    if first[:1].isdigit():
        return "an" if re.match(r"8|1[18](?!\d)", first) else "a"
    if _CONSONANT_U.match(first):
        return "a"
    return "an" if first[:1].lower() in "aeiou" else "a"


def words(text: str) -> list[str]:
    """Return the words of a text, lower case, without punctuation at their ends."""
    return [w for w in (m.group().strip(".,;:()'\"").lower() for m in _WORD.finditer(text)) if w]


def head(text: str) -> str:
    """Return the head noun of a noun phrase: the last word before its first preposition."""
    tokens = text.split()
    for i, token in enumerate(tokens):
        if i and token.lower() in _PREPOSITIONS:
            return tokens[i - 1]
    return tokens[-1]


def known_number(text: str) -> Number | None:
    """Return the number of a noun phrase, or None where the head is no noun that this module knows."""
    noun = head(text).lower().strip("().,")
    noun = noun.rsplit("/", 1)[-1]
    last = noun.rsplit("-", 1)[-1]
    for form in dict.fromkeys((noun, last)):
        if form in _PLURAL:
            return "plural"
        if form in _MASS:
            return "mass"
        if form in _COUNT:
            return "count"
    if singulars(last) & (_COUNT | _MASS):
        return "plural"
    if noun.endswith(_MASS_ENDINGS):
        return "mass"
    if noun.endswith(_COUNT_ENDINGS):
        return "count"
    if any(s.endswith(_COUNT_ENDINGS) for s in singulars(noun)):
        return "plural"
    return None


def guess_number(text: str) -> Number:
    """Return the number of a noun phrase, by its form where the head is unknown."""
    known = known_number(text)
    if known:
        return known
    noun = head(text).lower()
    if re.search(r"\d|[A-Z]{2}|'s\b", text):  # COVID-19, DCIS, Barrett's
        return "mass"
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        return "plural"
    return "count"


def singulars(noun: str) -> set[str]:
    """Return what the singular of a noun (or of a phrase that ends with it) could be; empty if it is no plural."""
    for plural, single in (("ies", "y"), ("sci", "scus"), ("mina", "men"), ("ae", "a")):
        if noun.endswith(plural):
            return {noun.removesuffix(plural) + single}
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        return {noun[:-1], noun.removesuffix("es")}
    return set()


def is_nominal(text: str) -> bool:
    """Say whether a wording can stand where a noun phrase stands.

    Gap patterns, denials, clauses and adjectives cannot, nor can what this module does not recognise as a noun: it is
    better to leave a synonym unused than to build a wrong sentence.
    """
    tokens = [t.lower() for t in text.split()]
    if (
        "..." in text
        or "…" in text
        or not tokens
        or tokens[0] in _PREPOSITIONS | {"a", "an", "the", "and", "other", "another"}
    ):
        return False
    if _PREPOSITIONS & set(tokens) and tokens[-1].endswith(("ic", "ous", "ive")) and tokens[-2] != "the":
        return False
    if any(t in _NOT_NOMINAL for t in tokens) or re.search(r"[,;:?!()\d\"]", text):
        return False
    return known_number(text) is not None or is_initialism(head(text))


def is_initialism(word: str) -> bool:
    """Say whether a word is an abbreviation in capitals (AMD, NPDR, H&E)."""
    return re.fullmatch(r"[A-Z][A-Z&]+", word) is not None


def join(items: Sequence[str], conjunction: str = "and") -> str:
    """Return a list in words, with a comma before the conjunction of three or more."""
    if len(items) <= 1:
        return "".join(items)
    if len(items) == 2:
        return f"{items[0]} {conjunction} {items[1]}"
    return f"{', '.join(items[:-1])}, {conjunction} {items[-1]}"


def sentence(text: str) -> str:
    """Return a text with a capital at its start and after each full stop, and a full stop at its end."""
    parts = [p.strip() for p in text.rstrip(". ").split(". ")]
    return ". ".join(p[:1].upper() + p[1:] for p in parts) + "."
