"""Circumstances that no label holds, found by what they are not: "in a diver", "on warfarin", "due to silica".

What may stand after such a preposition in a true caption is a short list: the picture, a place, a finding, words of
appearance. Whatever else stands there was invented.
"""

from collections.abc import Callable

from captioner.agreement import lexicon as lx
from captioner.agreement.tokens import Tokens

_CAUSES = frozenset((("due", "to"), ("caused", "by"), ("secondary", "to"), ("owing", "to"), ("triggered", "by")))
_TIMES = frozenset(("after", "despite", "since", "requiring", "following"))
_PERSONS = frozenset((("in", "a"), ("in", "an"), ("of", "a"), ("of", "an")))
_TREATED = frozenset(("on", "under"))
_PLAIN = lx.words("""view plane projection pattern appearance aspect density opacity area region part portion tissue structure contour outline
    margin border field space wall surface way manner case background form shape distribution fashion patient person individual
    subject specimen sample series collection set accumulation buildup loss presence absence increase decrease increased
    decreased filling fluid air gas blood light signal intensity texture color colour process change finding feature sign
    layer lining spot patch line band group cluster row pair number amount degree variety range type kind class category
    manner context example instance display inspection examination imaging review close top both either one two which what
    that this it them these those all each growth mass cell cells gland vessel fiber fibre bone muscle fat skin organ body
    cavity lumen chamber membrane duct tube tract loop fold crypt nucleus stroma mucosa mucus debris water swelling thickening
    narrowing widening enlargement collapse compression displacement obstruction damage degeneration inflammation irritation
    infiltration proliferation deposit deposition pigment pigmentation calcium protein lipid keratin scale crust ulceration
    shadow shadowing silhouette reflection glare contrast brightness darkness haze haziness clarity detail attenuation
    magnification center centre middle edge end base apex level height width size volume weight length thickness human adult
    cross section single whole entire half quarter third left right upper lower anterior posterior lateral medial central
    peripheral superior inferior inner outer deep superficial frontal axial sagittal coronal rounded round oval linear
    scattered focal diffuse patchy dense subtle typical classic characteristic common clear normal abnormal healthy lesion
    lung heart chest eye breast knee brain blurring clouding opacification whitening reddening coverage condition disorder
    disease illness abnormality pathology anomaly defect problem issue injury effect retrograde backward wear aging age
    manner extent favor favour keeping line accordance contrast addition front back relation association combination
    setting picture black gray grey white red blue yellow brown pink dark bright
    pale colored coloured monochrome small large tiny big thin thick narrow wide long short high low great good poor""")
_NOUN_ENDS = (
    lx.FINITE
    | lx.STOP
    | lx.PREPOSITIONS
    | lx.PARTICIPLE
    | lx.PERCEIVED
    | frozenset(("and", "or", "nor", "not", "no", "without", "with", "to", "than", "as", "if", "when"))
)
_ARTICLES = frozenset(("a", "an", "the"))
_OPENS = frozenset(first for first, _ in _CAUSES | _PERSONS) | _TIMES | _TREATED | {"from"}
_ALLOWED = _PLAIN | lx.DETERMINER | lx.IMAGE | lx.EVIDENCE
_LONGEST = 4


def find(
    tokens: Tokens, known: Callable[[], set[int]], status: list[int], finding_ends: Callable[[], set[int]]
) -> list[tuple[int, int]]:
    """Return where circumstances stand, as ranges of tokens.

    Args:
        tokens: of the caption.
        known: returns the tokens that the vocabulary knows: findings, places, pictures, states, triggers.
        status: how each token is meant; what is denied is not stated.
        finding_ends: returns the tokens before which findings end: what stands after "a bite from" is its cause.
    """
    found: list[tuple[int, int]] = []
    if _OPENS.isdisjoint(tokens.distinct):
        return found
    ends: set[int] | None = None
    understood: set[int] | None = None
    words = tokens.words
    n = len(words)
    for k in range(1, n - 1):
        if words[k] not in _OPENS:
            continue
        pair = (words[k], words[k + 1])
        if pair in _CAUSES or pair in _PERSONS:
            first = k + 2
        elif words[k] == "from":
            ends = finding_ends() if ends is None else ends
            if k not in ends:
                continue
            first = k + 1
        elif words[k] in _TIMES or words[k] in _TREATED:
            first = k + 1
        else:
            continue
        if (pair in _CAUSES or words[k] == "from") and first < n - 1 and words[first] in _ARTICLES:
            first += 1  # "caused by a virus"
        end = first
        while end < n and end - first < _LONGEST and words[end][0].isalpha() and words[end] not in _NOUN_ENDS:
            end += 1
        if first == end or not _ALLOWED.isdisjoint(words[first:end]):
            continue
        if words[k] in _TREATED and end - first > 2:
            continue
        if status[first] in (lx.AFFIRMED, lx.HEDGED):
            understood = known() if understood is None else understood
            if understood.isdisjoint(range(first, end)):
                found.append((k, end))
    return found
