"""What a set of labels allows a caption to say; worked out once for each set."""

from dataclasses import dataclass

from captioner.agreement.tokens import phrase
from captioner.agreement.vocabulary import Vocabulary
from captioner.schema import Library

_NEUTRAL = frozenset(("bony structure", "osseous structure", "soft tissue")) | frozenset(
    """bone skin lymph_node gland crypt mucosa duct lobule cortex cortical cord disc media ventricle ventricular lens airway
    interstitium alveolar alveolus artery vein vessel tooth meningeal dura cup fat muscle cervix tubule ear jaw""".split()
)
"""Places that other regions have as well, or words that mean other things too."""


@dataclass(frozen=True, slots=True)
class Context:
    """Labels, and all that follows from them. Numbers are indices into the vocabulary's meanings.

    Attributes:
        labels: the positive classes.
        implied: true because of them, themselves included.
        allowed: may be mentioned as well: declared signs, supported findings.
        signs: declared signs; a particular kind of one may be mentioned as well.
        typical: declared signs of something wider than the labels: worth a warning, no error.
        groups: scales on which the labels stand.
        normal: labels that say that nothing is wrong.
        absent: labels that say that one thing is not there.
        shown: labels that say that something is there.
        words: all words of the wordings of what is implied or allowed, and of the labels' signs.
        findings: those of ``shown`` that are no organ, tissue or device.
        families: families of the labels' ways of imaging.
        modality: name of the way of imaging.
        imaging: words of the wordings of the ways of imaging: "stained", of an H&E-stained section.
        anatomies: ids of the labels' body regions.
        places: names of all places that may be mentioned.
        region: those of them that the labels' body regions are or lie in: the picture may be named after these.
        borrowed: the others, which a label's own wording brings along.
        at_home: indices of the names of places that are in order wherever they stand: they name the region, lie in it, or
            name what other regions have as well.
        anatomy: name of the body region.
        graded: a label is a step of a scale with words of degree.
        device: a label is a device.
        grants: kinds of detail that the labels' own wordings contain.
    """

    labels: tuple[int, ...]
    implied: frozenset[int]
    allowed: frozenset[int]
    signs: frozenset[int]
    typical: frozenset[int]
    groups: frozenset[str]
    normal: tuple[int, ...]
    absent: tuple[int, ...]
    shown: tuple[int, ...]
    words: frozenset[str]
    findings: tuple[int, ...]
    families: frozenset[str]
    modality: str
    imaging: frozenset[str]
    anatomies: frozenset[str]
    places: frozenset[str]
    region: frozenset[str]
    borrowed: frozenset[str]
    at_home: frozenset[int]
    anatomy: str
    graded: bool
    device: bool
    grants: frozenset[str]


def context_of(labels: tuple[int, ...], v: Vocabulary, library: Library) -> Context:
    """Return what labels allow.

    Args:
        labels: indices of the positive classes.
        v: the schema's vocabulary.
        library: modalities and anatomies.
    """
    m = v.meanings
    empty: frozenset[int] = frozenset()
    implied = empty.union(*(m[i].implies for i in labels))
    concepts = {c for i in implied if (c := m[i].concept)}
    allowed = implied.union(*(m[i].allows for i in labels), *(v.by_concept[c] for c in concepts))
    words: frozenset[str] = frozenset()
    words = words.union(*(v.said[i] for i in allowed), *(v.signalled[i] for i in implied))
    anatomies = frozenset(m[i].anatomy for i in labels)
    places = anatomies.union(*(v.places.get(a, frozenset()) for a in anatomies))
    region = places
    elsewhere = v.class_anatomies - places
    places = places.union(*(m[i].places - elsewhere for i in labels))
    modalities = sorted({m[i].modality for i in labels})
    known = [library.modalities[k] for k in modalities if k in library.modalities]
    regions = [library.anatomies[a] for a in sorted(anatomies) if a in library.anatomies]
    kinds = {i: m[i].kind for i in labels}
    shown = tuple(i for i in labels if kinds[i] not in ("normal", "absence"))
    scales = {s.group for s in v.scales if s.levels}
    return Context(
        labels=labels,
        implied=implied,
        allowed=allowed,
        signs=empty.union(*(m[i].signs for i in labels)),
        typical=empty.union(*(m[i].allows for i in implied)),
        groups=frozenset(g for i in labels if (g := m[i].group)),
        normal=tuple(i for i in labels if kinds[i] == "normal"),
        absent=tuple(i for i in labels if kinds[i] == "absence"),
        shown=shown,
        words=words,
        findings=tuple(i for i in shown if kinds[i] not in ("organ", "tissue", "device")),
        families=frozenset(k.family or k.name for k in known),
        modality=known[0].name if known else "",
        imaging=frozenset(w for k in known for text in (k.name, *k.synonyms, *k.views) for w in phrase(text)),
        anatomies=anatomies,
        places=places,
        region=region,
        borrowed=places - region,
        at_home=frozenset(
            index
            for index, named in enumerate(v.anatomies)
            if not named.isdisjoint(region)
            or not named.isdisjoint(_NEUTRAL)
            or any(not anatomies.isdisjoint(v.places.get(p, ())) for p in named)
        ),
        anatomy=regions[0].name if regions else "",
        graded=any(m[i].group in scales and m[i].level is not None for i in labels),
        device=any(k == "device" for k in kinds.values()),
        grants=frozenset(kind for i in labels for kind in m[i].grants),
    )
