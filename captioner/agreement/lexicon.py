"""The language that captions are written in: what denies, doubts, restricts and joins. No disease stands here.

Words are given as a caption would spell them; :mod:`.tokens` brings both sides into the same form.
"""

from types import MappingProxyType

from captioner.agreement.tokens import lemma


def words(text: str) -> frozenset[str]:
    """Return words in the form that tokens have, and as they are written."""
    return frozenset(form for word in text.split() for form in (word, lemma(word)))


# How a mention is meant. Higher wins where two apply.
AFFIRMED, GENERIC, HISTORICAL, FAMILY, HYPOTHETICAL, HEDGED, NEGATED = range(7)
STATUS_NAMES = ("affirmed", "generic", "historical", "family", "hypothetical", "hedged", "negated")

# What a cue does: NAME_F acts on what follows, NAME_B on the subject before it, TIGHT on the next phrase only.
(
    NEG_F,
    NEG_B,
    NEG_TIGHT,
    NOT,
    HEDGE_F,
    HEDGE_B,
    HEDGE_BOTH,
    HYPO_F,
    HIST_F,
    FAM_F,
    GEN_F,
    PSEUDO,
    EXCEPT,
    MODAL,
    FREE,
    NEG_TO_COMMA,
    NOTHING,
    HIST_B,
    COMPARE,
    DENIES_THAT,
    DOUBTS_THAT,
    DOUBTS_ALL,
) = range(22)

_UNSURE = """doubtful | uncertain | unlikely | improbable | likely | probable | possible | conceivable | imaginable | plausible
    | arguable | questionable | debatable | unclear | unproven | unconfirmed | presumed | suspected | assumed | thought
    | believed | open | not certain | not clear | not sure | not evident | not obvious | not proven | not established
    | not known | not unlikely | not improbable | not impossible | not excluded | not ruled out | not settled | not beyond doubt
    | some doubt | room for doubt | hard to believe | difficult to believe"""
"""What "it is … that", "it is … whether" leaves open."""

_FAR_FROM = "never | in no way | by no means | hardly | scarcely | far from | anything but"
_LACKING = "free of | free from | without | devoid of | clear of | lacking | absent | missing"

CUES = MappingProxyType(
    {
        NEG_F: """
            no | without | w/o | no evidence of | no evidence for | without evidence of | no sign of | no signs of
            | no indication of | no suggestion of | no features of | no trace of | lack of | lacks | lacking | absence of
            | devoid of | free of | free from | clear of | cleared of | negative for | denies | deny | denied
            | excludes | excluding | exclude | rules out | ruling out | neither | nor | never | no longer | fails to show
            | fails to demonstrate | fails to reveal | fail to show | fail to demonstrate | fail to reveal | failed to show
            | argues against | argue against | speaks against | speak against | inconsistent with | incompatible with
            | not consistent with | not compatible with | not typical of | not characteristic of | not suggestive of
            | not in keeping with | not indicative of | not due to | not caused by | not from | void of | spared by | spared from
            | absence is noted of | none of | in the absence of | contains no | unaffected by | uninvolved by
            | unable to show | unable to demonstrate | unable to detect | cannot detect | cannot see | cannot identify | unable to see | never shows | no convincing | no definite
            | no obvious | no clear evidence of | no radiographic evidence of | no findings of | nothing in the way of
            | not amounting to | not reaching | does not reach | do not reach | short of
            | bereft of | fails to support | fail to support | fails to bear out
            | falls short of | stops short of | below the threshold for | below the threshold of | under the threshold for
            | disproves | disprove | in vain for | spared of | not yet
            | gives the lie to | give the lie to | belies | contradicts | negates | everything except | everything except for
            | everything but | everything apart from | everything other than | hardly shows | scarcely shows
            | hardly demonstrates | scarcely demonstrates | hardly suggests | scarcely suggests | hardly a | hardly an
            | scarcely a | scarcely an
            | not meeting criteria for | does not meet criteria for | exclusion of | excluded are | ruled out are
            | absent are | not seen are | missing are | spares | sparing | zero | hardly any | not any
            | failure to show | failure to demonstrate | nothing of the | no such thing as | rejects | refutes
            | does not amount to | do not amount to | outside the range of | differs from | distinct from | sans | untouched by""",
        NEG_TIGHT: """
            non | pseudo | rather than | instead of | as opposed to | in contrast to | unlike | other than being | and not | but not
            | as distinct from | differentiated from | in place of | not to be confused with""",
        COMPARE: """
            less than | more than | beyond | past the | past | worse than | better than | milder than | below | above
            | greater than | higher than | lower than | exceeding | exceeds | under | over | surpasses | surpassing""",
        NEG_TO_COMMA: "far from | by no means | anything but",
        DENIES_THAT: """
            not true that | untrue that | false that | not the case that | not so that | wrong that | incorrect that
            | not correct that | not right that | far from true that | wrong to say that | wrong to claim that
            | incorrect to say that | incorrect to claim that | not correct to say that | not true to say that
            | misleading to say that | a mistake to say that | mistaken to say that | an error to say that
            | cannot be said that | could not be said that | cannot be claimed that | cannot be maintained that
            | no truth in the claim that | nobody would say that | no one would say that | nobody would claim that
            | no one would claim that""",
        DOUBTS_THAT: " | ".join(
            f"{word.strip()} {opening}" for word in _UNSURE.split("|") for opening in ("that", "whether", "if")
        ),
        DOUBTS_ALL: """
            without certainty | without full certainty | without much certainty | without any certainty | with some hesitation
            | with hesitation | with reservation | with some reservation | if anything | at best | with a question mark
            | unless it is | unless they are | evidence is thin | evidence is weak | evidence is scant | evidence is slim
            | evidence is insufficient | evidence is inconclusive | evidence is equivocal | until proven otherwise
            | almost normal | nearly normal | practically normal | virtually normal | near normal | near - normal | not quite normal
            | apparently | reportedly | supposedly | ostensibly | seemingly | purportedly
            | not diagnostic | cannot be sure | cannot be certain | cannot be known | cannot tell | this is not certain
            | this is uncertain | this is doubtful | this is not sure | in general | generally speaking | as a rule | in theory
            | in principle | by definition | theoretically | hypothetically | subject to confirmation | if real | if genuine | at a guess | as a guess""",
        NOT: "not | cannot be | nowhere | never",
        NOTHING: """
            nothing | there is little | there is precious little | under no circumstances | in no way | on no account | little to suggest | little evidence of | little to indicate | nothing to suggest | nothing suggestive of | nothing to indicate | nothing indicative of | nothing points to
            | nothing to point to | nothing suggesting | nothing indicating | nothing resembling | nothing like
            | nothing pointing to | nothing that suggests | nothing that indicates | nothing in favour of""",
        NEG_B: """
            absent | has disappeared | have disappeared | disappeared | vanished | has vanished | have vanished | be dismissed
            | is dismissed | is gone | has gone | have gone | is not there | are not there | hardly present | scarcely present
            | hardly visible | scarcely visible | scarcely conceivable | hardly conceivable | rejected | refuted | discarded
            | does not apply | do not apply | conspicuous by its absence | conspicuous by their absence | notable by its absence
            | ruled out | excluded | negative | lacking | unlikely | not a feature | none | nil | nowhere to be seen
            | invisible | improbable | out of the question | missing | disproved | has resolved | have resolved | has cleared
            | have cleared | completely resolved | resolved | not on display | nonexistent | dismissed | can be excluded
            | can be ruled out | can be discounted | has been excluded | has been ruled out | have been excluded
            | excluded here | no longer seen | no longer visible | no longer present | is nowhere | are nowhere | discounted
            | fails to appear | fails to emerge | fails to materialize | failed to appear | failed to emerge | a false impression
            | a false alarm | a misreading | a misdiagnosis | a misnomer | is false | is wrong | is incorrect | is mistaken | is unfounded | is unjustified
            | is unwarranted | is inaccurate | is not true | is not correct | is not justified | is not warranted | would be false
            | would be a mistake | would be wrong | would be mistaken | would be incorrect | would be misleading
            | would be an error | is a mistake | is an error | not among | not one of | not part of
            | undetectable | not the diagnosis | not the case | not a finding | not the finding | not the cause | untrue""",
        HEDGE_F: """
            ddx includes | ddx of | low probability of | high probability of | probability of | likelihood of | could pass for
            | might pass for | may pass for | alleged | allegedly | i think this is | i think it is | guess would be | guess is
            | wonders about | wonder about | brings to mind | think of | could well be | might well be | could easily be
            | might easily be | could possibly be | may possibly be | might possibly be | could conceivably be | bordering on
            | borders on | bordered on | verges on | comes close to | coming close to | close to being | next to being
            | what looks like | what appears to be | what seems to be | what resembles | would fit | could fit | might fit
            | may fit | would match | could match | might match | jury is out on | jury is still out on | leans towards
            | leaning towards | leans toward | leaning toward | tends towards | tending towards | inclines towards
            | inclining towards
            | something like | something resembling | a sort of | sort of | almost a | if not | impossible to rule out | impossible to exclude
            | might call | could call | may call | would call | might say | could say
            | verging on | almost no | nearly no | virtually no | believed to be | thought to be | felt to be | assumed to be | thought to represent
            | believed to represent | felt to represent | would represent | possible | possibly | probable | probably | suspected | suspect | suspicious for | suspicion of | suspicious of
            | suspicion for | concern for | concerning for | worrisome for | questionable | query | queried | question of
            | equivocal for | indeterminate for | presumed | presumptive | presumably | unclear if | is unclear whether | is unclear if | unclear whether | uncertain whether | uncertain if
            | is uncertain whether | is uncertain if | remains unclear whether | remains uncertain whether | maybe | perhaps | likely | most likely
            | potentially | potential | conceivably | cannot exclude | cannot rule out | cannot fully exclude
            | cannot confidently exclude | cannot be certain of | does not exclude | do not exclude | not exclude
            | does not rule out | do not rule out | not rule out | differential includes | differential diagnosis includes
            | differential considerations include | differential diagnosis of | differential is | differential diagnosis is
            | raises the possibility of | raise the possibility of | raising the possibility of | possibility of | chance of
            | raises suspicion for | raises concern for | raising concern for | whether | if this is | could be | may be
            | might be | may represent | could represent | might represent | may reflect | could reflect | might reflect
            | may indicate | could indicate | might indicate | may suggest | might suggest | could suggest | may have
            | might have | could have | may well be | may correspond to | could correspond to | borderline | not entirely excluding
            | no certainty of | uncertain | undecided between | hint of | hints of | hints at | hinting at | tentative
            | tentatively | unclear whether | difficult to exclude | hard to exclude | working diagnosis of | provisional
            | provisional diagnosis of | vague suggestion of | impression of possible | consider | considered possible
            | not certain | uncertain for | doubtful | supposed | putative | purported | in all likelihood | cannot confirm
            | not confirmed as | unable to exclude | unable to rule out | mimicking | mimics | resembling | resembles
            | reminiscent of | simulating | arguably | debatable | suspiciously like | may show | might show | could show
            | may contain | might contain | could contain | may demonstrate | could demonstrate | may exhibit | may also be
            | might also be | could also be | may in fact be | seems possible | some chance of | apparently possible
            | undetermined between | versus perhaps | one of several | scant evidence of | insufficient evidence of
            | insufficient evidence for | arguable | would be | doubt about | doubts about | doubt as to | invites the diagnosis of
            | invites a diagnosis of | inviting the diagnosis of | overlaps with | overlap with | overlapping with | plausible
            | candidate for | prompts the thought of | on suspicion of | not enough evidence of | not enough evidence for | weak evidence of""",
        HEDGE_B: """
            not unlikely | is not unlikely | not improbable | hard to rule out | difficult to rule out | hard to dismiss
            | difficult to dismiss | of uncertain significance | cannot be excluded | cannot be ruled out | cannot be entirely excluded | cannot be fully excluded
            | cannot be completely excluded | cannot be confidently excluded | cannot be definitively excluded
            | cannot be discounted | cannot entirely be excluded | not excluded | not ruled out | not be excluded
            | not be ruled out | not been excluded | not been ruled out | not entirely excluded | not fully excluded
            | not completely excluded | not definitely excluded | cannot be assumed | cannot be presumed | cannot be confirmed | not confirmed | could not be confirmed
            | not be confirmed | unconfirmed | to be ruled out | to be excluded | to be confirmed | should be excluded
            | needs to be excluded | must be excluded | should be ruled out | must be ruled out | yet to be confirmed
            | yet to be excluded | is suspected | are suspected | was suspected | suspected | is possible | are possible
            | possible | is likely | are likely | likely | is probable | probable | is questionable | are questionable
            | questionable | is uncertain | are uncertain | uncertain | remains uncertain | is unclear | unclear
            | is equivocal | are equivocal | equivocal | is a possibility | a possibility | is a consideration
            | a consideration | is considered | are considered | is in question | in question | in doubt | doubtful
            | is debatable | debatable | is presumed | presumed | is indeterminate | indeterminate | is difficult to say
            | difficult to say | hard to say | is conceivable | conceivable | not certain | is not certain | undecided
            | is queried | queried | in the differential | in the differential diagnosis | among the differentials
            | among the differential diagnoses | is hinted at | hinted at | may be present | might be present
            | could be present | open to question | open to doubt | a concern | under suspicion | undetermined
            | difficult to confirm | hard to confirm | difficult to exclude | hard to exclude | would explain | could explain | might explain | may explain | would account for | could account for | might account for
            | may account for | one explanation | one possibility | one possible explanation | an alternative | an alternative explanation
            | one of several | one of the possibilities | a potential explanation | a possible explanation | a candidate | one of the differentials | one of the differential diagnoses
            | is plausible | are plausible | plausible | is entertained | are entertained | entertained | pending | pending confirmation | awaiting confirmation | tbc | comes to mind
            | come to mind | on the list | on the list of candidates | on the list of differentials | on the list of possibilities | among the candidates | among the considerations | arguable | is arguable
            | a leading consideration | the leading consideration | a leading possibility | the leading possibility
            | a leading differential | the leading differential | a leading contender | the leading contender
            | a leading candidate | the leading candidate | a leading suspicion | the leading suspicion
            | a main consideration | the main consideration | a main possibility | the main possibility
            | a main differential | the main differential | a main contender | the main contender
            | a main candidate | the main candidate | a main suspicion | the main suspicion | a top consideration
            | the top consideration | a top possibility | the top possibility | a top differential
            | the top differential | a top contender | the top contender | a top candidate | the top candidate
            | a top suspicion | the top suspicion | a foremost consideration | the foremost consideration
            | a foremost possibility | the foremost possibility | a foremost differential
            | the foremost differential | a foremost contender | the foremost contender | a foremost candidate
            | the foremost candidate | a foremost suspicion | the foremost suspicion | a first consideration
            | the first consideration | a first possibility | the first possibility | a first differential
            | the first differential | a first contender | the first contender | a first candidate
            | the first candidate | a first suspicion | the first suspicion | a strong consideration
            | the strong consideration | a strong possibility | the strong possibility | a strong differential
            | the strong differential | a strong contender | the strong contender | a strong candidate
            | the strong candidate | a strong suspicion | the strong suspicion | a prime consideration
            | the prime consideration | a prime possibility | the prime possibility | a prime differential
            | the prime differential | a prime contender | the prime contender | a prime candidate
            | the prime candidate | a prime suspicion | the prime suspicion
            | was considered | were considered | a matter of debate | a matter of dispute | a matter of opinion
            | a matter of conjecture | disputed | contested | controversial | up for debate | under debate | a hypothesis
            | a working hypothesis | a working diagnosis | a tentative diagnosis | a guess | an assumption | a presumption
            | a supposition | a hunch | hard to tell from | difficult to tell from | hard to distinguish from
            | difficult to distinguish from | indistinguishable from | cannot be told from | cannot be distinguished from
            | not distinguishable from | not to be told from
            | is speculative | tentative | is borderline | a differential | a differential diagnosis""",
        HEDGE_BOTH: "versus | and/or | differential between",
        HYPO_F: """
            to rule out | rule out | r/o | evaluate for | to evaluate for | evaluation for | evaluated for | to exclude
            | assess for | to assess for | assessed for | assessment for | to look for | looked for | look for | looking for
            | screening for | screened for | to check for | checked for | check for | search for | searched for
            | in search of | to screen for | to confirm or exclude | to investigate for | investigated for | workup for
            | work up for | workup of | to confirm | rule in | referred for | requested for | clinical indication | clinical question
            | monitor for | surveillance for | tested for | to detect | risk of | at risk of | at risk for | risk for
            | predisposes to | predisposing to | can lead to | may lead to | could lead to | might lead to | leads to
            | can progress to | may progress to | could progress to | might progress to | can cause | may cause
            | can develop into | may develop into | can evolve into | may evolve into | precursor of | precursor to
            | can result in | may result in | if present | if there is | if there were | in case of | in cases of
            | used to inspect | used to examine | used to check | used to detect | used to diagnose | used to assess | used to evaluate | helps detect | helps to detect
            | may obscure | can obscure | could obscure | might obscure | may hide | may mask | can mask | could mask
            | performed for | done for | obtained for | requested for | ordered for | acquired for | indication :
            | could become | may become
            | might become | can become | would become | will become | could turn into | may turn into | might turn into
            | will turn into | will show | will develop | will have | whoever expects | anyone expecting | those expecting
            | whoever seeks | useful for detecting | useful for diagnosing | to diagnose | would expect | might expect | expected | anticipated | graded for | examined for | asked about | asked whether | asking about | inquired about
            | asked for | wondered about | in the diagnosis of | prone to""",
        HIST_F: """
            used to show | used to have | once showed | once had | ceased to show | ceases to show | stopped showing
            | history of | past history of | medical history of | known history of | previous | prior | past | formerly
            | previously known | previously diagnosed | old healed | prior episode of | history includes | hx of | h/o
            | resolution of | interval resolution of | resolution of the | disappearance of | clearance of | after treatment of
            | clearing of | status post | following treatment of | after treatment for | recovered from | post treatment of""",
        HIST_B: "in the past | previously | years ago | on the previous examination | on the prior examination",
        FAM_F: "family history of | family history | mother had | father had | maternal history of | paternal history of",
        GEN_F: """
            as seen in | such as occurs in | commonly seen in | often seen in | frequently seen in | typically seen in
            | usually seen in | sometimes seen in | can be seen in | may be seen in | can also be seen in | encountered in
            | commonly caused by | often caused by | usually caused by | typically caused by | common in | common cause of
            | known cause of | leading cause of | complication of | a type of | a form of | risk factor for | refers to
            | is defined as""",
        PSEUDO: """
            no change in | no change of | no significant change in | no interval change in | without change in | no increase in
            | no significant interval change in | no decrease in | no improvement in | without improvement in
            | no worsening of | no doubt | without doubt | without a doubt | without any doubt | no question | beyond doubt
            | beyond question | no less than | no fewer than | not only | not just | not merely | not simply | not solely
            | non contrast | without contrast | without intravenous contrast | without iv contrast | no contrast
            | non specific | non invasive | no mistaking | not to mention | nothing less than | nothing but | none other than
            | no longer than | nothing other than | no other than | there is no missing | there is no overlooking | cannot fail to notice
            | does not lack | do not lack | as could be | as can be | without difficulty | no problem | no small | not without | not infrequently | not unlike
            | not uncommon | no wonder | beyond any doubt | unmistakable | leaves no doubt | not until | no mere
            | as expected in | as expected for | as expected of | as would be expected in | as would be expected of
            | certain | definite | not limited to | without question | no exception | no stranger to | non depend
            | no need | more than one | less than one | more than a | not alone | not isolated | non displaced
            | does not hide | cannot hide | cannot be mistaken | cannot be missed | cannot be overlooked | cannot be denied
            | impossible to miss | impossible to overlook | cannot be ignored | no fewer | no exclusion of | not absent
            | hard to deny | difficult to deny | impossible to deny | wrong to deny | would be wrong to deny | is wrong to deny
            | cannot deny | cannot overlook | cannot miss | cannot ignore | cannot fail to see | to say nothing of | not to speak of | little doubt | there is little doubt | there is little question
            | who would deny | no one would deny | nobody would deny | no denying | can hardly be denied | can hardly be doubted
            | can hardly be missed | not lacking | is not missing | not negative | not free of | not free from | not devoid of | not clear of
            | not without | no lack of | no absence of | non normal | """
        + " | ".join(f"{one.strip()} {other.strip()}" for one in _FAR_FROM.split("|") for other in _LACKING.split("|")),
        EXCEPT: """
            except | except for | apart from | aside from | other than | with the exception of | save for | but for
            | with exception of | excepting | besides | in addition to | beside the | exception being | exceptions being
            | beyond the presence of | only""",
        FREE: "free",
    }
)
"""Cue → what it does. A longer cue hides the shorter ones inside it."""

PERCEIVED = words("""seen visible present evident noted identified demonstrated shown observed apparent detected depicted found
    visualized appreciated made recognizable recorded reported detectable discernible displayed revealed
    confirmed perceptible noticeable documented distinguishable mentioned exhibited encountered picked described
    listed involved manifest diagnosed established obvious conspicuous illustrated imaged disclosed appreciable
    localizable made delineated spotted identifiable clear developed featured suggested indicated represented
    borne substantiated corroborated upheld in_evidence part included labelled here""")
"""Words that say that something is to be seen: "X is not VISIBLE" denies X."""

EXCLUDED = words("excluded ruled discounted dismissed precluded eliminated")
"""Words that deny by themselves, so that "not" before them doubts."""

BE = words("is are was were be been being remain remains remained appear appears appeared look looks looked seem seems")
FINITE = (
    words("""has have had show demonstrate reveal display depict contain exhibit lie can could may might will does do did
    indicate suggest represent confirm illustrate affect involve occupy obscure cloud bring disclose accompany
    give give gives coexist coexists comprise comprises includes lies stays stay surround blunt blunts overlie abut
    predominate dominate points point meets meet qualifies qualify reaches harbor harbors bear bears carries carry
    showed demonstrated_ revealed_ displayed_ contained_""")
    | BE
)
"""Verbs that make a clause. In the form that tokens have: "shows" is ``show``."""

DETERMINER = words("a an the this that these those its his her their there another some")
NEUTRAL_ADVERB = words("""both all also each entirely completely totally wholly again likewise either clearly definitely fully readily well
    currently otherwise equally convincingly too therefore thus notably truly really simply actually still conspicuously
    obviously directly to be been being yet even unequivocally confidently reliably plainly certainly now everywhere
    properly easily safely at any here""")
STOP = words("""but however although though while whereas yet because since which who whose where when whilst despite
    nevertheless nonetheless instead albeit notwithstanding so hence therefore thus consequently until""")
"""Words after which another clause begins."""

PARTICIPLE = words("""showing demonstrating revealing displaying depicting indicating suggesting representing consistent compatible
    illustrating confirming exhibiting containing presenting characterized highlighting reflecting signifying implying
    indicative suggestive typical diagnostic pointing corresponding featuring""")
"""After a comma, or after the image itself, these open a statement of their own."""

AFTER_COMMA = (
    words("with there here including plus only also it they we then accompanied associated together along")
    | PARTICIPLE
    | STOP
)
"""After a comma these end a denial."""

PREDICATE = words("""normal clear unremarkable present absent enlarged intact evident visible seen noted identified healthy sharp
    demonstrated shown thickened torn abnormal preserved found detected apparent""")
"""Words that close an elliptical statement: "effusion absent, consolidation present"."""

IMAGE = words("""image radiograph film scan ray x-ray photograph photo picture sonogram slice slide section view study examination
    exam imaging ultrasound ct mri mr frame photomicrograph micrograph radiography tomography fundus fundoscopy frame
    histology histopathology oct angiogram mammogram endoscopy cxr echo projection patch appearance
    ultrasonography sonography specimen tile scanning tomogram resonance capture snapshot shot""")
"""Nouns for the picture itself."""

EVIDENCE = words("""evidence sign indication suggestion feature finding trace hint abnormality change nothing
    reason ground basis argument anything something none way hallmark manifestation appearance stigma proof clue""")
"""Nouns that stand for what would show a disease; a denial passes through them."""

ADDITIONAL = words("other additional further second another separate remaining else new")
"""Before a denied finding these leave the finding itself standing: "no other nodule"."""

NORMAL_WORDS = (
    "normal", "normally", "unremarkable", "healthy", "healthy-looking", "within normal limits", "intact",
    "clear", "sharp", "preserved", "well preserved", "normal-sized", "normal in size", "normal size", "of normal size",
    "normal appearance", "normal appearances", "physiological", "free of disease", "free from disease", "disease-free",
    "not enlarged", "unaffected", "nothing abnormal", "nothing abnormal to report", "undamaged", "not thickened",
    "not abnormal", "free of abnormality", "free from abnormality", "normality", "uninvolved", "spared", "well aerated", "regular",
    "nothing remarkable", "disease free", "without abnormality", "devoid of abnormality", "untorn", "in good health",
    "uninjured", "maintained", "continuous", "normal limits", "nothing of concern", "no cause for concern", "sound",
    "normalcy", "not remarkable", "in order", "pristine", "as expected", "nothing untoward", "standard anatomy",
    "standard anatomical", "typical anatomy", "typical anatomical", "no deviation from normal", "no deviation from the normal",
    "nothing unusual", "nothing atypical", "without unusual feature", "no unusual feature", "without unusual finding", "no unusual finding",
)  # fmt: skip
"""Words of normality. Which of them speak for the whole image depends on their subject."""

ABNORMAL_WORDS = (
    "abnormality", "abnormal", "abnormalities", "abnormal finding", "abnormal findings", "anomaly", "pathology",
    "pathologic", "pathological", "pathologic finding", "pathological finding", "pathological findings",
    "pathologic findings", "pathological change", "disease", "disease process", "diseased", "disorder", "damage", "damaged",
    "defect", "injury", "injured", "tear", "torn", "rupture", "ruptured", "sprain", "sprained", "degeneration", "degenerative change",
    "degenerative", "tendinosis", "tendinopathy", "tendonitis", "tendinitis", "lesion", "disruption", "disrupted",
    "derangement", "partial tear", "complete tear", "signal abnormality", "abnormal signal", "signal change",
    "discontinuity", "discontinuous", "thickening", "thickened", "inflammation", "inflamed", "irregularity", "irregular",
    "tearing", "strain", "strained", "significant finding", "significant findings", "alteration", "altered", "pathologies",
    "pathologically", "fraying", "frayed", "edema", "edematous", "dilated", "dilatation", "dilation", "mass", "disease changes",
    "malformation", "involvement", "impairment", "impaired", "deterioration", "dysfunction", "pathological condition", "pathological sign", "pathological feature", "pathologic feature", "pathological alteration",
    "pathologic condition", "abnormal condition", "abnormal features", "anomalous", "issue", "compromised", "acute finding", "unhealthy", "deformity", "deformed", "affected",
    "aberration", "aberrant", "ailment", "atypical", "atypical feature", "atypical finding", "unusual", "unusual feature",
    "inconsistency", "structural change", "disturbance", "complication", "problem", "condition affecting", "condition involving", "condition",
)  # fmt: skip
"""Words that say that a structure is not as it should be."""

GLOBAL_ABNORMAL = frozenset(
    (
        "abnormality", "abnormal", "anomaly", "pathology", "pathologic", "pathological", "disease", "pathologic finding",
        "pathological finding", "abnormal finding", "disease process", "significant finding", "disorder",
        "pathological change", "pathologic change", "diseased", "acute finding", "pathological condition", "pathological sign", "pathological feature", "pathologic feature", "pathological alteration",
        "pathologic condition", "abnormal condition", "abnormal feature",
    )
)  # fmt: skip
"""The ones whose denial, without more, calls the whole image normal."""

STATES = (
    (
        "enlargement | increase in size | increase in the size | increased size",
        "enlarged | increased in size | larger than normal | bigger than normal | larger than expected",
    ),
    ("widening | broadening", "widened | broadened | wider than normal"),
    ("thickening", "thickened | thicker than normal"),
    ("thinning", "thinned | thinner than normal"),
    ("elevation", "elevated | raised | higher than normal"),
    ("calcification", "calcified"),
    ("dilatation | dilation", "dilated"),
    ("narrowing | stenosis", "narrowed | stenosed | stenotic | narrower than normal"),
    ("fracture", "fractured | broken"),
    ("tear", "torn"),
    ("rupture", "ruptured"),
    ("inflammation", "inflamed"),
    ("collapse", "collapsed"),
    ("consolidation", "consolidated"),
    ("opacification", "opacified"),
    ("ulceration", "ulcerated"),
    ("degeneration", "degenerated"),
    ("atrophy", "atrophic | atrophied"),
    ("occlusion | blockage", "occluded | blocked"),
    ("obstruction", "obstructed"),
    ("detachment", "detached"),
    ("herniation", "herniated"),
    ("displacement | deviation | shift", "displaced | deviated | shifted"),
    ("tortuosity", "tortuous"),
    ("pallor", "pale"),
    ("swelling", "swollen"),
    ("infarction | infarct", "infarcted"),
    ("infection", "infected"),
    ("thrombosis", "thrombosed"),
    ("perforation", "perforated"),
    ("cupping", "cupped"),
    ("blunting", "blunted"),
    ("blurring", "blurred"),
    ("scarring", "scarred"),
)
"""States of a structure: as nouns, and as adjectives. Who may be said to have a rib fracture has a broken rib."""

SEVERITY = (
    "mild",
    "moderate",
    "severe",
    "very severe",
    "minimal",
    "advanced",
    "early",
    "marked",
    "extensive",
    "end-stage",
)
GRADE_NOUNS = words("""grade grading stage staging level severity category type class form degree disease change variety scale score
    range extent phase spectrum end""")
GRADED = words("graded classed classified staged rated scored categorized graded_as assessed level grade stage")
NUMBERS = MappingProxyType(
    {w: i for i, w in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())}
    | {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
)
PREPOSITIONS = words(
    "of in on at by via for from with within to over about around under through into onto near inside upon between during"
)
