"""What a caption says around its findings: the way of imaging, the body region, details that labels cannot support."""

from collections.abc import Mapping

from captioner.agreement import circumstances, details
from captioner.agreement import lexicon as lx
from captioner.agreement.judge import Judge
from captioner.agreement.tokens import Kind
from captioner.schema import Attribute

_RADIOLOGICAL = frozenset(
    "evidence finding feature sign appearance change imaging manifestation indication pattern".split()
)
_ADJECTIVES = frozenset(("radiographic", "radiography"))
_BODY_SITES = lx.words(
    "nose nostril cheek forehead scalp lip eyelid chin trunk torso buttock groin palm sole nail nape limb"
)
_BEFORE_PLACE = frozenset("of the a an this benign normal healthy human unremarkable".split())
_CATCHING = frozenset("catch catches catching meet meets meeting strike strikes striking draw draws drawing".split())
_FORMS = frozenset(("shaped", "like", "sign"))
_OPERATIONS = ("ectomy", "plasty", "otomy", "ostomy", "umab", "ximab", "ercept", "tinib", "cillin", "trexate")
"""Endings of operations, and of drugs."""

_TELLING = Kind(lambda w: w.endswith(_OPERATIONS) or w in _BODY_SITES or any(map(str.isdigit, w[-2:])))
"""Words that may give a detail away by their form."""


def judge(j: Judge, attributes: Mapping[str, str], known: Mapping[str, Attribute]) -> None:
    """Judge modality, anatomy and details.

    Args:
        j: takes the issues.
        attributes: the image's metadata, name → value.
        known: the schema's attributes.
    """
    if not j.context.labels:
        return
    _modality(j)
    _anatomy(j, attributes, known)
    _details(j, attributes, known)


def _modality(j: Judge) -> None:
    families = j.context.setting.families
    words = j.reading.tokens.words
    for start, end, index in j.reading.modalities:
        family = j.v.modalities[index]
        if family in families or _denied(j, start):
            continue
        if words[start] in _ADJECTIVES and end < len(words) and words[end] in _RADIOLOGICAL:
            continue
        if family == "photograph" and families & {"fundus", "endoscopy"}:
            continue
        if family == "fundus" and "retina" in j.context.setting.anatomies and words[start:end] == ["fundus"]:
            continue  # the place, not the photograph of it
        j.add("wrong_modality", f"The image is a {j.context.setting.modality}.", tokens=(start, end))


def _anatomy(j: Judge, attributes: Mapping[str, str], known: Mapping[str, Attribute]) -> None:
    good = j.context.places
    mine = j.context.setting.anatomies
    status = j.reading.scopes.status
    words = j.reading.tokens.words
    at_home = j.context.setting.at_home
    for start, end, index in j.reading.anatomies:
        if index in at_home or (j.v.anatomies[index] & good and not _in_picture(j, start)):
            continue
        if end < len(words) and words[end] in _FORMS:
            continue  # "meniscus-shaped"
        if start >= 2 and words[start - 1 : start + 1] == ["the", "eye"] and words[start - 2] in _CATCHING:
            continue  # "meets the eye"
        if "skin" in mine and not _inside_allowed(j, start, end) and status[start] != lx.NEGATED:
            _body_site(j, start, end, attributes, known)
            continue
        if (status[start] == lx.NEGATED and not _in_picture(j, start)) or _inside_allowed(j, start, end):
            continue
        j.add("wrong_anatomy", f"The image is of the {j.context.setting.anatomy}.", tokens=(start, end))


def _body_site(j: Judge, start: int, end: int, attributes: Mapping[str, str], known: Mapping[str, Attribute]) -> None:
    """Note where on the body a patch of skin is said to be."""
    text = j.caption[slice(*j.reading.span(start, end))]
    if not _known("location", text, attributes, known):
        fix = f'Leave out "{text}": the labels do not say where on the body.'
        j.add("invented_detail", fix, tokens=(start, end), detail="location")


def _details(j: Judge, attributes: Mapping[str, str], known: Mapping[str, Attribute]) -> None:
    reading = j.reading
    context = j.context
    words = reading.tokens.words
    if reading.triggers:
        starts = {m.start for m in reading.mentions if m.meanings}
        found = details.find(
            reading.tokens,
            reading.triggers,
            reading.scopes,
            starts.__contains__,
            len(context.labels),
            graded=context.graded,
            proof_is_image="histology" in context.setting.families,
        )
        for d in found:
            if (
                d.kind in context.grants
                or (d.kind == "device" and context.device)
                or (d.kind in ("severity", "stage") and context.graded)
            ):
                continue
            if d.kind == "acquisition" and context.setting.imaging.issuperset(words[d.start : d.end]):
                continue
            if d.kind == "laterality" and words[d.start] == "both" and not context.shown:
                continue
            if _inside_allowed(j, d.start, d.end):
                continue
            text = j.caption[slice(*reading.span(d.start, d.end))]
            if _known(d.kind, text, attributes, known):
                continue
            level = d.level
            if (
                d.kind == "count"
                and not words[d.start][0].isdigit()
                and words[d.start] in details.VAGUE
                and _sign_at(j, d.end)
            ):
                level = "warning"  # "a few microaneurysms": signs come in numbers, and nobody counted these
            fix = f'Leave out "{text}": the labels do not say so.'
            j.add("invented_detail", fix, tokens=(d.start, d.end), detail=d.kind, level=level)
    spine = "spine" in context.setting.anatomies
    skin = "skin" in context.setting.anatomies
    telling = _TELLING.among(reading.tokens.distinct)
    for k, word in enumerate(words) if telling else ():
        if word not in telling:
            continue
        if word.endswith(_OPERATIONS) and "treatment" not in context.grants and not _inside_allowed(j, k, k + 1):
            j.add("invented_detail", "Leave out the treatment.", tokens=(k, k + 1), detail="treatment")
        elif skin and word in _BODY_SITES and not _inside_allowed(j, k, k + 1):
            _body_site(j, k, k + 1, attributes, known)
        elif word[-1].isdigit() or (word[0].isalpha() and word[-2:-1].isdigit()):
            kind = details.figure(words, k, spine=spine)
            if kind and kind not in context.grants and not _inside_allowed(j, k, k + 1):
                text = j.caption[slice(*reading.span(k, k + 1))]
                if not _known(kind, text, attributes, known):
                    fix = f'Leave out "{text}": the labels do not say so.'
                    j.add("invented_detail", fix, tokens=(k, k + 1), detail=kind)

    def understood() -> set[int]:
        found = {k for m in reading.mentions for k in range(m.start, m.end)}
        for hits in (reading.anatomies, reading.modalities, reading.triggers, reading.abnormal):
            found.update(k for h in hits for k in range(h[0], h[1]))
        found.update(k for s in reading.normal for k in range(s.start, s.end))
        found.update(k for k, word in enumerate(words) if word in context.words)
        return found

    for start, end in circumstances.find(
        reading.tokens, understood, reading.scopes.status, lambda: {m.end for m in reading.mentions}
    ):
        text = j.caption[slice(*reading.span(start, end))]
        j.add(
            "invented_detail", f'Leave out "{text}": the labels do not say so.', tokens=(start, end), detail="history"
        )
    for name in j.v.dataset_words:
        size = len(name)
        for k in range(len(words) - size + 1) if reading.tokens.distinct.issuperset(name) else ():
            if words[k] == name[0] and tuple(words[k : k + size]) == name:
                j.add("invented_detail", "Do not name the dataset.", tokens=(k, k + size), detail="dataset")


def _known(kind: str, text: str, attributes: Mapping[str, str], known: Mapping[str, Attribute]) -> bool:
    """Say whether the image's metadata holds a detail."""
    return any(
        kind in known[n].details and details.supported(text, v) for n, v in attributes.items() if v and n in known
    )


def _sign_at(j: Judge, token: int) -> bool:
    """Say whether a sign of the labels begins at a token, and not a label itself."""
    found = [m for m in j.reading.mentions if m.start == token and (m.meanings or m.signs)]
    return any(not j.context.implied.intersection(m.meanings) for m in found)


def _denied(j: Judge, start: int) -> bool:
    """Say whether a word is denied itself ("not a CT"), and not only said after a denial ("no mass on this CT")."""
    scopes = j.reading.scopes
    number = scopes.by[start]
    return scopes.status[start] == lx.NEGATED and number >= 0 and start - scopes.cues[number][1] <= 1


def _in_picture(j: Judge, start: int) -> bool:
    """Say whether a place belongs to the naming of the picture: "on this MRI of the hip", "on this hip MRI"."""
    words = j.reading.tokens.words
    k = start - 1
    while k >= 0 and start - k <= 4 and words[k] in _BEFORE_PLACE:
        k -= 1
    return (start - 1 > k >= 0 and words[k] in lx.IMAGE) or (start + 1 < len(words) and words[start + 1] in lx.IMAGE)


def _inside_allowed(j: Judge, start: int, end: int) -> bool:
    """Say whether tokens are part of a wording that the labels allow."""
    return any(
        m.holds(start, end) and (not j.context.allowed.isdisjoint(m.meanings) or m.signs & j.context.implied)
        for m in j.reading.mentions
    )
