"""What a set of labels allows a caption to say; worked out once for each set."""

from collections.abc import Mapping
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
class Setting:
    """What follows from how and of which body regions images are made; few of a schema's label sets differ in it.

    Attributes:
        families: families of the ways of imaging.
        modality: name of the way of imaging.
        imaging: words of the wordings of the ways of imaging: "stained", of an H&E-stained section.
        anatomies: ids of the body regions.
        anatomy: name of the body region.
        region: names of the places that these are or lie in: the picture may be named after these.
        elsewhere: body regions of the schema that are none of these.
        at_home: indices of the names of places that are in order wherever they stand: they name the region, lie in it, or
            name what other regions have as well.
    """

    families: frozenset[str]
    modality: str
    imaging: frozenset[str]
    anatomies: frozenset[str]
    anatomy: str
    region: frozenset[str]
    elsewhere: frozenset[str]
    at_home: frozenset[int]


def setting_of(modalities: frozenset[str], anatomies: frozenset[str], v: Vocabulary, library: Library) -> Setting:
    """Return what follows from ways of imaging and body regions, given by their ids."""
    known = [library.modalities[k] for k in sorted(modalities) if k in library.modalities]
    regions = [library.anatomies[a] for a in sorted(anatomies) if a in library.anatomies]
    region = anatomies.union(*(v.places.get(a, frozenset()) for a in anatomies))
    return Setting(
        families=frozenset(k.family or k.name for k in known),
        modality=known[0].name if known else "",
        imaging=frozenset(w for k in known for text in (k.name, *k.synonyms, *k.views) for w in phrase(text)),
        anatomies=anatomies,
        anatomy=regions[0].name if regions else "",
        region=region,
        elsewhere=v.class_anatomies - region,
        at_home=frozenset(
            index
            for index, named in enumerate(v.anatomies)
            if not named.isdisjoint(region)
            or not named.isdisjoint(_NEUTRAL)
            or any(not anatomies.isdisjoint(v.places.get(p, ())) for p in named)
        ),
    )


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
        rivals: for each label on one, what its other steps imply.
        normal: labels that say that nothing is wrong.
        absent: labels that say that one thing is not there.
        shown: labels that say that something is there.
        kinds: of the labels.
        words: all words of the wordings of what is implied or allowed, and of the labels' signs.
        findings: those of ``shown`` that are no organ, tissue or device.
        setting: what follows from how and of which body regions images with these labels are made.
        places: names of all places that may be mentioned: the setting's, and those that a label's own wording brings along.
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
    rivals: Mapping[int, frozenset[int]]
    normal: tuple[int, ...]
    absent: tuple[int, ...]
    shown: tuple[int, ...]
    kinds: frozenset[str]
    words: frozenset[str]
    findings: tuple[int, ...]
    setting: Setting
    places: frozenset[str]
    graded: bool
    device: bool
    grants: frozenset[str]


def context_of(labels: tuple[int, ...], v: Vocabulary, setting: Setting) -> Context:
    """Return what labels allow.

    Args:
        labels: indices of the positive classes.
        v: the schema's vocabulary.
        setting: of the labels' ways of imaging and body regions.
    """
    m = v.meanings
    empty: frozenset[int] = frozenset()
    implied = empty.union(*(m[i].implies for i in labels))
    concepts = {c for i in implied if (c := m[i].concept)}
    allowed = implied.union(*(m[i].allows for i in labels), *(v.by_concept[c] for c in concepts))
    words: frozenset[str] = frozenset()
    words = words.union(*(v.said[i] for i in allowed), *(v.signalled[i] for i in implied))
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
        rivals={i: empty.union(*(m[x].implies for x in v.steps[g] if x != i)) for i in labels if (g := m[i].group)},
        normal=tuple(i for i in labels if kinds[i] == "normal"),
        absent=tuple(i for i in labels if kinds[i] == "absence"),
        shown=shown,
        kinds=frozenset(kinds.values()),
        words=words,
        findings=tuple(i for i in shown if kinds[i] not in ("organ", "tissue", "device")),
        setting=setting,
        places=setting.region.union(*(m[i].places - setting.elsewhere for i in labels)),
        graded=any(m[i].group in scales and m[i].level is not None for i in labels),
        device=any(k == "device" for k in kinds.values()),
        grants=frozenset(kind for i in labels for kind in m[i].grants),
    )
