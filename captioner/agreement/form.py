"""Texts that are no caption at all: refusals, echoes of the prompt, JSON, questions, cut-off sentences, lists, markup."""

import re
import unicodedata
from collections import Counter
from string import digits

from captioner.agreement.tokens import Tokens, lemma

Problem = tuple[str, tuple[int, int] | None]
"""Kind, and where it shows (None: everywhere)."""

LIMIT = 8_000
"""Characters. No caption is as long; longer texts are refused unread."""

_START = r"^[\s\"'\u201c\u201d\u2018\u2019*_#>\-]*"
_REFUSAL = re.compile(
    r"\b(?:as an? (?:ai|artificial|large language|language) (?:\w+ ){0,3}?(?:model|assistant|intelligence)?"
    r"|as an ai\b|i(?:'m| am) (?:sorry|unable|not able|afraid|an ai|just an|only an)|i (?:cannot|can't|can not|could not|couldn't|won't|will not|do not|don't|am not)\b"
    r"|(?:too poor|not good enough|insufficient|inadequate) to (?:comment|assess|grade|interpret|determine|describe)"
    r"|i apologi[sz]e|my apologies|sorry, (?:but|i)\b|unable to (?:assist|help|provide|view|generate|create|comply|fulfil)"
    r"|cannot (?:assist|help|provide|generate|comply|fulfil|create|view (?:the|this|images)|diagnose)|can't (?:assist|help|provide)"
    r"|not (?:a medical professional|able to (?:provide|view|assist|help|diagnose))|no image (?:was|has been|is) (?:provided|attached|supplied|uploaded)"
    r"|(?:please )?(?:upload|attach|share) (?:the|an|your) image|language model|medical advice|(?:image|picture|input) (?:is|was) not (?:provided|available|attached)"
    r"|against my (?:guidelines|policy)|request cannot be)",
    re.IGNORECASE,
)
_ECHO_START = re.compile(
    _START
    + r"(?:(?:please |kindly |now )?(?:write|generate|describe|provide|create|list|give|tell|produce|rewrite|rephrase|return|compose|draft"
    r"|use|do not|don't|avoid|ensure|make sure|remember|imagine|act as|answer|respond|reply|summari[sz]e|caption (?:this|the)|identify the|state (?:the|whether|which)|explain|complete the|consider the|output"
    r"|include|mention|keep|limit|follow|name the|add|paraphrase|format|fill in|select|choose|classify|label the|determine|analy[sz]e|look at|examine the|suggest|help|translate|convert|report (?:the|whether|on))\b"
    r"|(?:sure|certainly|of course|absolutely|okay|ok|great|understood|got it|no problem|yes|alright)\b\s*[,!.:]"
    r"|here(?:'s| is| are)\b.{0,60}\b(?:caption|description|sentence|version|option|variation|rewrite|response|answer)"
    r"|(?:image |final |new |possible |suggested |alternative |revised |corrected )?(?:caption|captions|description|answer|output|response|assistant|user|system|prompt|instruction|instructions|task|example|note|input|question|title|rewritten|corrected|option [a-z0-9]|label|labels|findings to mention|context|requirements?|rules?)\s*(?:\d+|\(\d+\)|#\d+)?\s*:"
    r"|here (?:you|it|we) (?:go|is|are)\b|as (?:requested|asked|instructed|you (?:asked|requested|wanted|instructed))\b|(?:translation|error|warning|ocr|transcript|text|version|draft|attempt|result)\s*\d*\s*:|you are (?:a|an|the)\b|your task|the following|given the|based on the (?:label|provided|given|information|prompt|above)|below (?:is|are)|(?:i|let me|we) (?:will|have|would|can|wrote|generated|hope|think|see|am|believe|suggest))",
    re.IGNORECASE,
)
_ECHO_OPENERS = frozenset(
    lemma(word)
    for word in """please kindly now write generate describe provide create list give tell produce rewrite rephrase return
    compose draft use do avoid ensure make remember imagine act answer respond reply summarise summarize caption identify
    state explain complete consider output include mention keep limit follow name add paraphrase format fill select choose
    classify label determine analyse look examine suggest help translate convert report sure certainly of absolutely okay ok
    great understood got no yes alright here image final new possible suggested alternative revised corrected description
    response assistant user system prompt instruction task example note input question title rewritten option finding
    context requirement rule as translation error warning ocr transcript text version attempt result you your the given
    based below i let we""".split()
)
"""First words of all that the pattern above matches; most captions begin with none of them."""

_ECHO_ANYWHERE = re.compile(
    r"\{\{|\}\}|\{%|%\}|\{[a-z_]+\}|\[(?:insert|label|labels|modality|anatomy|finding|findings|organ|name|class|disease|view|age|sex)[^\]]*\]"
    r"|<(?:modality|anatomy|finding|findings|label|labels|insert|class|disease)[^>]*>|<\|[a-z_]*\|?>|\[/?inst\]|</?s>|<<sys>>|<think>"
    r"|\b(?:the (?:given |provided |above )?labels? (?:mention|say|state|indicate|list|provided|given|are\b|is\b)|using (?:british|american|only the|the following|simple|no more)|in (?:one|a single|two|three) sentences?\b"
    r"|(?:your|this|the) (?:prompt|instruction|request)\b|write (?:a|one|the|\d+|two|three|five|ten) (?:\w+ ){0,3}captions?|captions? for (?:a|an|the|this|each)\b|(?:let me know|feel free|hope this helps|would you like)|word (?:limit|count)|no more than \d+ words|do not (?:mention|include|invent|use|add|state)|must (?:mention|include|not mention)|should (?:mention|include|state|read)\b|\bi (?:assume|suppose|presume|imagine|believe|think|guess|would say|would describe|would caption|see\b|can see|note)|\byou (?:provided|sent|shared|gave|uploaded|attached|asked|requested|wanted|can see|see)|\b(?:an|the) ai (?:would|might|could|can|says|model)|(?:lorem ipsum)|the user\b|ground[- ]truth label)",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"</?[a-z][a-z0-9]*(?:\s[^<>]{0,200})?/?>|&(?:amp|lt|gt|quot|nbsp|#\d+);|```|\*\*|__|~~|!\[|\]\(|https?://|www\.|\\(?:text|begin|end|item|n|section)\b|(?m:^\s{0,3}#{1,6}\s)|(?m:^\s*\|.*\|\s*$)|<!--|\$\$|\\u[0-9a-f]{4}|(?<!\w)`[^`]+`|(?<![\w*])\*[^*\s][^*]{0,80}\*(?!\w)|(?<![\w_])_[A-Za-z][^_]{0,80}_(?!\w)",
    re.IGNORECASE,
)
_JSON = re.compile(
    r"^\s*[\[{]|[\]}]\s*$|\"\s*:\s*[\"\[{\d]|\"\w+\"\s*:|'\w+'\s*:\s*['\[{]|^\s*\"?(?:caption|captions|labels?|findings|text)\"?\s*[:=]\s*[\"\[{]|\w+=\"|^\s*-\s+\w+:\s|\w\s*;\s*$\s*\}|None\b,|\bnull\b",
    re.IGNORECASE,
)
_ARTEFACT = re.compile(
    r"\(\s*\d+ (?:words?|characters?|tokens?)\s*\)|\(\s*(?:\w+ ){0,2}(?:arrow(?:head)?s?|asterisk|circle|star)\s*\)|\b(?:fig(?:ure)?\.?|panel|image|slide|plate|case|photo|table)\s*(?:\d+|[a-h])\s*[:.)]",
    re.IGNORECASE,
)
"""What texts bring along from elsewhere: word counts, arrows in a figure, the number of a figure."""

_ARTEFACT_WORDS = frozenset(
    "word character token arrow arrowhead asterisk circle star fig figure panel image slide plate case photo table".split()
)
_LIST = re.compile(r"(?m)^\s*(?:[-*\u2022\u2013]|\(?\d{1,2}[.):]|[a-z]\))\s+\S")
_INLINE_LIST = re.compile(
    r"(?:^|\s)(?:\(?1[.)]|1:)\s+\S.{3,}?\s\(?2[.):]\s+\S|\bcaption\s*\d\b|\boption\s*(?:\d|[a-c])\b|\(a\)\s.{3,}\(b\)\s|\balternatively\s*[,:]",
    re.IGNORECASE | re.DOTALL,
)
_QUESTION_START = frozenset(
    """is are does do did was were can could would should what which who where why how has have will whether am may might""".split()
)
_FOREIGN = frozenset(
    """der die das und mit ohne ein eine einer eines einem einen des dem den im zeigt ist auf bei von keine kein sich nicht zum zur
    le la les un une du de et avec sans montrant montre dans sur pas aucun aucune est au aux deux chez pour par
    el los las con sin una del muestra que se en y por imagen no_hay ninguna ningun ni para al
    il lo gli della dello del di che senza con per nella nel mostra un' dei delle
    o os uma com sem mostrando no_br na nas dos das do mostra imagem em
    het een met zonder van toont de op en geen bij
    och med utan som visar av ett en det den på är
    og uden viser med et er på ikke
    i z bez oraz na w jest widoczny zdjecie obraz
    ve ile bir bu olan göstermektedir görüntü yok""".split()
)
_SHARED = frozenset(
    "die de no on a an as in is was do does i o to me at den des pet y e s er en la i an us et al per im am will so war man hat bad gift rat art".split()
)
_ENGLISH = frozenset(
    """the a an of with in on is are and no this shows showing there not without image by to at for from or as was which has
    have it seen be that show demonstrate demonstrating reveal visible present normal but into its than""".split()
)
_SENTENCE_WORDS = _ENGLISH - {"image", "visible", "present", "normal"}
_HANGING = frozenset(
    """the a an of with and or nor but to in at by for from into onto than as that which whose whom is are was were be been being
    has have had show demonstrate reveal display depict showing demonstrating revealing displaying depicting containing without within via
    its their his her this these those if because although while whereas since when where who very more most
    no not both either neither between among during including such due about against towards versus upon
    suggesting indicating representing resembling causing involving affecting exhibiting featuring
    may might could should would can will shall must appear seem remain contain suggest indicate represent small large mild moderate severe
    additional associated consistent compatible characterized accompanied another other several multiple some any each every
    there also only so too yet plus per""".split()
)
_FRONTED = frozenset(("what", "that", "which", "as"))
_TAKES_OBJECT = frozenset("show demonstrate reveal display depict contain suggest indicate represent".split())
"""Verbs that may end a sentence whose object stands before them: "X is what this image depicts"."""
_DENYING = frozenset(("no", "not", "nor", "without", "never"))
_CONTRAST = frozenset(("but", "yet", "while", "whereas", "though", "although"))
_IS = frozenset(("is", "are"))
"""Before and after a contrast: "no X is evident, yet Y is"."""
_OPEN_ENDS = frozenset((",", ":", ";", "-", "(", "[", "/", "&", "+"))
_NEVER_LAST = frozenset("the a an of and or with whose their its".split())
_HANGING_FINE = {
    "for": frozenset(("looked", "searched", "accounted", "tested", "screened", "sought", "evaluated", "assessed", "look", "search", "checked", "known")),
    "to": frozenset(("referred", "pointed", "attended", "close")),
    "in": frozenset(("set", "joined", "zoomed", "closed", "filled", "caved")),
    "with": frozenset(("dealt", "associated")),
    "at": frozenset(("looked", "hinted")),
    "of": frozenset(("spoken", "disposed", "thought")),
    "on": frozenset(("side", "head", "edge", "end", "face", "face")),
    "is": frozenset(("it", "as")),
    "are": frozenset(("they",)),
    "severe": frozenset(("graded", "grade", "as", "is", "be", "stage", ":", "severity", ",", "level", "rated", "classed", "staged", "degree", "and", "to", "or", "not", "-", "very", "category", "classified", "remain")),
    "either": frozenset(("present", "seen", "found", "visible", "effusion", "pneumothorax")),
    "other": frozenset(("each", "no", "the")),
    "multiple": frozenset(("are", "be")),
    "there": frozenset(("is", "are", "seen", "present", "visible", "not", "also")),
    "so": frozenset(("not", "do", "or")),
    "should": frozenset(("it", "they")), "that": frozenset(("at",)),
    "only": frozenset(("*",)), "too": frozenset(("*",)), "also": frozenset(("*",)), "yet": frozenset(("*",)), "any": frozenset(("if", "without")),
    "show": frozenset(("*",)), "display": frozenset(("*",)), "contain": frozenset(("*",)), "both": frozenset(("in", "of", "affects", "affecting", "involves")),
    "consistent": frozenset(("is", "are", "be", "internally")), "associated": frozenset(("be", "is", "are")),
    "compatible": frozenset(("is", "are")), "present": frozenset(("*",)), "neither": frozenset(("of", "show")), "more": frozenset(("no", "any", "or")),
}  # fmt: skip
for _word in ("moderate", "mild", "small", "large"):
    _HANGING_FINE[_word] = _HANGING_FINE["severe"] | frozenset(
        "is are very relatively rather than only merely just still".split()
    )
_ARTICLE_END = re.compile(r"[,:;\-\u2013\u2014(\[/&+=]\s*[.]?\s*$|\.\.\.\s*$|…\s*$")


FIXES = {
    "empty": "Write a caption: one sentence that says what the image shows.",
    "too_long": "Write one caption of a sentence or two.",
    "too_short": "Write a whole sentence.",
    "refusal": "Write the caption itself; do not refuse, and do not speak of yourself.",
    "prompt_echo": "Give the caption alone, without words about the task.",
    "json": "Give the caption as plain text, not as JSON or a list of values.",
    "markup": "Give plain text without markup, links or code.",
    "list": "Give one caption, not several.",
    "language": "Write in English.",
    "question": "State what the image shows; do not ask.",
    "cut_off": "Finish the sentence.",
    "repetition": "Say each thing once.",
    "encoding": "Give plain text; some characters are broken.",
}
"""What to do about each kind of problem."""

# A cheap look first: the patterns above run only where one of their words or characters stands.
_REFUSAL_WORDS = frozenset(
    """i ai apologize apology sorry unable assist help provide generate comply fulfil create diagnose professional able upload
    attach share poor insufficient inadequate enough language advice provided available attached guideline policy request supplied uploaded view""".split()
)
_ECHO_WORDS = frozenset(
    """label prompt instruction request caption british american simple sentence word write lorem user feel let would
    mention include hope ground use using must the_user not state invent add should i you ai""".split()
)
_ECHO_LATER = frozenset("write generate describe provide produce rewrite compose draft caption output".split())
_ECHO_SENTENCE = re.compile(
    r"[.!?:]\s+(?:please )?(?:(?:write|generate|describe|provide|produce|rewrite|compose|draft|output)\s+(?:a|an|the|one|this|it|only|captions?)\b"
    r"|here(?:'s| is| are)\b.{0,40}\bcaption|captions?\s*\d*\s*:)",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"[ \t]+")
_SPECIAL = re.compile(r"[<>&`*_~\[\]\\#|${}]|https?:|www\.")
_JSON_MARKS = re.compile(r"[{}\[\]\":=]|'\s*:|\bnull\b|None,")
_LIST_MARKS = re.compile(r"\d[.):]|\([a-z]\)|\bcaption\b|\boption\b|alternatively", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z ,.'-]*")
"""What most captions are made of: none of the marks above is among these characters."""

_MARKED_WORDS = frozenset("null none caption option alternatively".split())
_BULLETS = frozenset("-*\u2022\u2013(0123456789")


def problems(text: str, tokens: Tokens) -> list[Problem]:
    """Return why a text is no caption; an empty list if it is one. Linear in the text's length."""
    found: list[Problem] = []
    original = text
    if "  " in text or "\t" in text:
        text = _BLANKS.sub(" ", text)
    words, vocabulary = tokens.words, tokens.distinct
    if not any(len(w) > 1 and w[0].isalpha() for w in words):
        return [("empty", None)]
    if _single(words):
        found.append(("too_short", None))
    stripped = text.strip()
    if not _REFUSAL_WORDS.isdisjoint(vocabulary):
        refusal = _REFUSAL.search(text)
        if refusal:
            found.append(("refusal", refusal.span()))
    plain = _PLAIN.fullmatch(text) is not None
    special = not plain and _SPECIAL.search(text) is not None
    opener = words[0] if words[0][0].isalpha() else next(w for w in words if w[0].isalpha())
    echo = _ECHO_START.match(text) if opener.rstrip(digits) in _ECHO_OPENERS else None
    if echo is None and not _ECHO_LATER.isdisjoint(vocabulary):
        echo = _ECHO_SENTENCE.search(text)
    if echo is None and (special or not _ECHO_WORDS.isdisjoint(vocabulary)):
        echo = _ECHO_ANYWHERE.search(text)
    if echo:
        found.append(("prompt_echo", echo.span()))
    marked = not plain or not _MARKED_WORDS.isdisjoint(vocabulary)
    if marked and _JSON_MARKS.search(stripped) and _JSON.search(stripped):
        found.append(("json", None))
    markup = _MARKUP.search(text) if special else None
    if markup:
        found.append(("markup", markup.span()))
    artefact = _ARTEFACT.search(text) if not (plain or _ARTEFACT_WORDS.isdisjoint(vocabulary)) else None
    if artefact:
        found.append(("prompt_echo", artefact.span()))
    elif not text.isascii() and any(unicodedata.category(c) == "So" for c in text):
        found.append(("markup", None))  # an emoji
    if _is_list(text, stripped, marked=marked):
        found.append(("list", None))
    if _foreign(tokens, text):
        found.append(("language", None))
    question = _question(tokens)
    if question:
        found.append(("question", question))
    cut = _cut_off(tokens, stripped, plain=plain)
    if cut:
        found.append(("cut_off", cut))
    if len(words) > len(vocabulary) + 1 and _repeats(words, len(vocabulary)):
        found.append(("repetition", None))
    if text is not original:
        found = [(kind, span if kind in ("question", "cut_off") else None) for kind, span in found]
    if "\ufffd" in text or "\x00" in text:
        found.append(("encoding", None))
    return found


def _single(words: list[str]) -> bool:
    """Say whether there is one word and no more."""
    one = False
    for word in words:
        if word[0].isalnum():
            if one:
                return False
            one = True
    return True


def _is_list(text: str, stripped: str, *, marked: bool) -> bool:
    lines = "\n" in stripped
    if lines or stripped[0] in _BULLETS:
        bullets = len(_LIST.findall(text))
        if bullets > 1 or (bullets and _LIST.match(text)):
            return True
    if marked and _LIST_MARKS.search(text) and _INLINE_LIST.search(text):
        return True
    return (lines and _several(stripped)) or (stripped.count(",") > 3 and _keywords(stripped))


def _keywords(text: str) -> bool:
    """Say whether a text is a list of keywords: many commas, a word or two between them, and no sentence."""
    parts = text.rstrip(".").split(",")
    return all(len(p.split()) <= 3 for p in parts) and not any(
        w in _SENTENCE_WORDS for w in text.lower().replace(",", " ").split()
    )


def _several(text: str) -> bool:
    """Say whether lines stand each for themselves: several captions, or a caption and a remark."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return len(lines) > 1 and all(line[-1] in ".!?\"'" or not line[0].isalpha() for line in lines[:-1])


def _foreign(tokens: Tokens, text: str) -> bool:
    words = tokens.words
    if text.isascii() and _FOREIGN_ONLY.isdisjoint(tokens.distinct):
        return False
    foreign = sum(1 for w in words if w in _FOREIGN_ONLY)
    accented = 0
    if not text.isascii():
        letters = sum(c.isalpha() for c in text)
        latin = sum(c.isascii() and c.isalpha() for c in text)
        other = sum(1 for c in text if c.isalpha() and ord(c) > 0x24F and not 0x1E00 <= ord(c) <= 0x1EFF)
        if other * 4 > letters or (letters > 12 and latin * 2 < letters):
            return True
        accented = sum(1 for w in words if not w.isascii() and w.isalpha() and len(w) > 3)
    if not foreign and accented < 2:
        return False
    english = sum(1 for w in words if w in _ENGLISH)
    if foreign > 1 and foreign > english:
        return True
    return english == 0 and len(words) > 3 and foreign + accented > 1


_FOREIGN_ONLY = frozenset(form for w in _FOREIGN - _SHARED for form in (w, lemma(w)))


def _question(tokens: Tokens) -> tuple[int, int] | None:
    """Return where a question stands: it begins like one and ends like one, or the text ends with its mark."""
    words = tokens.words
    begin = 0
    n = len(words)
    for i, word in enumerate(words) if "?" in tokens.distinct else ():
        if word in (".", "!", ";"):
            begin = i + 1
        elif word == "?":
            starts, ends = tokens.starts, tokens.ends
            attached = i + 1 < n and starts[i + 1] == ends[i] and words[i + 1][0].isalnum()
            if attached:
                continue
            if i > begin and words[begin] in _QUESTION_START:
                return starts[begin], ends[i]
            if (
                i > begin
                and words[i - 1] != "("
                and any(
                    w in _QUESTION_START
                    and w
                    not in (
                        "is",
                        "are",
                        "was",
                        "were",
                        "has",
                        "have",
                        "may",
                        "might",
                        "do",
                        "can",
                        "could",
                        "would",
                        "should",
                        "will",
                    )
                    for w in words[begin:i]
                )
            ):
                return starts[begin], ends[i]
            begin = i + 1
    first = words[0] if words else ""
    if first not in _QUESTION_START:
        return None
    if first == "what" and "?" not in words and any(w in ("is", "are") for w in words[3:]):
        return None  # "What this image shows is a nodule."
    if (
        first in ("what", "which", "why", "how", "does", "do", "did", "whether", "who")
        and "." not in words[:-1]
        and "," not in words
    ):
        return tokens.starts[0], tokens.ends[-1]
    if (
        first in ("is", "are", "can", "could", "does", "would", "should", "has", "have")
        and words[1:2]
        and words[1] in ("the", "there", "this", "you", "a", "it", "any", "an", "these")
    ):
        return tokens.starts[0], tokens.ends[-1]
    return None


def _cut_off(tokens: Tokens, stripped: str, *, plain: bool) -> tuple[int, int] | None:
    words = tokens.words
    last = len(words) - 1
    while last >= 0 and words[last] in (".", "!", '"', "'", ")", "?"):
        last -= 1
    if last < 0:
        return None
    word = words[last]
    final = stripped[-2:-1] if stripped[-1] == "." else stripped[-1]
    if word in _OPEN_ENDS or (not final.isalnum() and _ARTICLE_END.search(stripped[-12:])):
        return tokens.starts[last], tokens.ends[last]
    named = word == "a" and last > 0 and words[last - 1] in ("grade", "type", "class", "category", "stage", "group")
    if word in _HANGING and last > 0 and not named:
        fine = _HANGING_FINE.get(word)
        fronted = not _FRONTED.isdisjoint(words[max(0, last - 8) : last]) and word in _TAKES_OBJECT
        elliptic = (
            word in ("is", "are") and not _CONTRAST.isdisjoint(words[:last]) and not _IS.isdisjoint(words[: last - 1])
        )
        after_denial = word == "either" and not _DENYING.isdisjoint(words[:last])
        if not (fronted or elliptic or after_denial) and (fine is None or not ("*" in fine or words[last - 1] in fine)):
            return tokens.starts[last], tokens.ends[last]
    for k in range(1, last) if "." in tokens.distinct and words.index(".") < last else ():
        if (
            words[k] == "."
            and words[k - 1] in _NEVER_LAST
            and words[k - 2] != "grade"
            and tokens.ends[k] < tokens.starts[k + 1]
        ):
            return tokens.starts[k - 1], tokens.ends[k - 1]
    if not plain and (stripped.count("(") > stripped.count(")") or stripped.count("[") > stripped.count("]")):
        return tokens.starts[last], tokens.ends[last]
    return None


def _repeats(words: list[str], distinct: int) -> bool:
    """Say whether a text goes round in circles, as models that have derailed do."""
    if any(a == b == c and a.isalpha() for a, b, c in zip(words, words[1:], words[2:], strict=False)):
        return True
    if len(words) < 12 or len(words) <= 3 * distinct // 2:
        return False
    grams = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    return max(grams.values()) >= (4 if len(words) > 40 else 3)
