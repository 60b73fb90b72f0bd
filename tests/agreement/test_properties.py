"""What must hold for every caption: invariances, no exceptions, time that grows with the length alone."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner import resources
from captioner.agreement import Checker, form
from captioner.agreement.tokens import tokenize
from captioner.schema import load_schema
from captioner.triplets import Labels, make_triplet
from captioner.writer import write_captions

SCHEMAS = ("chestxray14", "aptos2019", "odir5k", "busi", "lc25000", "radimagenet", "brain_mri_tumor")
NEUTRAL = ("This image belongs to a teaching collection.", "The picture is of good quality.", "One frame is shown.")
FRAMES = (
    "{view} showing {x}.",
    "{view} without {x}.",
    "{view} with possible {x}.",
    "{X} is seen on this {view}.",
    "{X} is not seen on this {view}.",
    "A normal {view}; {x} is absent.",
    "{view} in which {x} cannot be excluded.",
    "{view} of a man with {x} measuring 3 cm.",
)


@pytest.fixture(scope="module")
def checkers():
    return {name: Checker(load_schema(name)) for name in SCHEMAS}


@st.composite
def captions(draw):
    name = draw(st.sampled_from(SCHEMAS))
    schema = load_schema(name)
    item, other = draw(st.sampled_from(schema.classes)), draw(st.sampled_from(schema.classes))
    wordings = [w for w in (item.name, *item.synonyms) if " ... " not in w]
    x = draw(st.sampled_from(wordings))
    view = draw(st.sampled_from(("chest X-ray", "fundus photograph", "breast ultrasound", "MRI of the knee", "image")))
    text = draw(st.sampled_from(FRAMES)).format(view=view, x=x, X=x[0].upper() + x[1:])
    return name, other.code, text[0].upper() + text[1:]


@given(captions())
@settings(max_examples=150, deadline=None)
def test_a_final_stop_changes_nothing(checkers, case):
    name, label, caption = case
    check = checkers[name].check
    assert check(caption.rstrip("."), [label]).verdict == check(caption, [label]).verdict


@given(captions())
@settings(max_examples=150, deadline=None)
def test_capitals_change_nothing(checkers, case):
    name, label, caption = case
    check = checkers[name].check
    assert check(caption.upper(), [label]).verdict == check(caption, [label]).verdict


@given(captions(), st.sampled_from(NEUTRAL))
@settings(max_examples=150, deadline=None)
def test_a_neutral_sentence_before_or_after_changes_nothing(checkers, case, neutral):
    name, label, caption = case
    check = checkers[name].check
    assert check(f"{neutral} {caption}", [label]).verdict == check(caption, [label]).verdict
    assert check(f"{caption} {neutral}", [label]).verdict == check(caption, [label]).verdict


@given(captions())
@settings(max_examples=100, deadline=None)
def test_blanks_change_nothing(checkers, case):
    name, label, caption = case
    check = checkers[name].check
    assert check("  " + caption.replace(" ", "  ") + " ", [label]).verdict == check(caption, [label]).verdict


@given(captions())
@settings(max_examples=100, deadline=None)
def test_the_same_question_has_the_same_answer_with_spans_that_fit(checkers, case):
    name, label, caption = case
    verdict = checkers[name].check(caption, [label])
    assert verdict == checkers[name].check(caption, [label])
    for issue in verdict.issues:
        if issue.span is not None:
            assert caption[slice(*issue.span)] == issue.text != ""


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_verdict(checkers, text):
    verdict = checkers["chestxray14"].check(text, ["Effusion"])
    assert verdict.verdict in ("agree", "disagree")
    for issue in verdict.issues:
        if issue.span is not None:
            assert 0 <= issue.span[0] < issue.span[1] <= len(text)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_tokens_lie_in_the_text_in_order(text):
    tokens = tokenize(text)
    assert all(0 <= s < e <= len(text) for s, e in zip(tokens.starts, tokens.ends, strict=True))
    assert tokens.starts == sorted(tokens.starts)
    assert all(tokens.words)


HARD = (
    "no ", "no effusion, ", "and ", "possible ", "effusion or ", "is absent ", "not ", "?", "(", "[", "{", '"', "'", ". ", ", ", "a",
    "- ", "1. ", "\n", "\u200b", "\u202e", "e\u0301", "\U0001f600", "X-ray of the ", "moderate ", "grade ", "heart is ", "without ",
    "effusion. It is gone. ", "effusion from ", "0", "1.5 x ", "<b>", "&", "```", "\\", "_", "*", "which ", "either ", "=", "http://", "lung ", "i ", "caption ", "as an ai ", "\t",
)  # fmt: skip


class _Steps:
    """Counts the lines that Python runs: a clock that does not depend on the machine."""

    def __init__(self):
        self.count = 0

    def __call__(self, frame, event, arg):
        if event == "line":
            self.count += 1
        return self

    def of(self, function, *args):
        self.count = 0
        sys.settrace(self)
        try:
            function(*args)
        finally:
            sys.settrace(None)
        return self.count


@pytest.mark.parametrize("piece", HARD)
def test_work_grows_with_the_length_and_no_faster(checkers, piece):
    check = checkers["chestxray14"].check
    short, long = piece * (1500 // len(piece)), piece * (6000 // len(piece))
    check(long, ["Effusion"])
    steps = _Steps()
    a, b = steps.of(check, short, ["Effusion"]), steps.of(check, long, ["Effusion"])
    assert b <= 6 * a + 20_000


@pytest.mark.parametrize(
    "text", ["", "\x00" * 50, "[" * 10_000, "\u202e" * 100, "a" * 1_000_000, "no " * 400_000, "\ud83d"]
)
def test_monstrous_texts_are_no_captions(checkers, text):
    assert not checkers["odir5k"].check(text, ["G"]).agrees


@given(st.from_regex(form._ECHO_START, alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_the_first_word_tells_every_text_that_may_begin_like_an_answer_to_a_prompt(text):
    assert "prompt_echo" in {kind for kind, _ in form.problems(text, tokenize(text))}


def test_threads_may_share_a_checker(checkers):
    check = checkers["chestxray14"].check
    barrier = threading.Barrier(4)

    def work(_):
        barrier.wait()
        return [check("Chest X-ray with effusion, no pneumonia.", ["Effusion"]).verdict for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        assert {v for found in pool.map(work, range(4)) for v in found} == {"agree"}


@pytest.mark.parametrize("name", resources.names("label_schemas"))
def test_the_built_in_writer_agrees_with_itself(name):
    schema = load_schema(name)
    checker = Checker(schema)
    wrong = [
        (item.code, caption)
        for item in schema.classes
        for caption in write_captions(schema, make_triplet(schema, Labels((item.code,))), 3)
        if not checker.check(caption, [item.code]).agrees
    ]
    assert not wrong


@pytest.mark.parametrize("name", resources.names("label_schemas"))
def test_a_caption_of_one_class_fails_under_every_class_that_it_does_not_imply(name):
    schema = load_schema(name)
    checker = Checker(schema)
    vocabulary = checker.vocabulary
    pairs = 0
    passed = []
    for k, item in enumerate(schema.classes):
        caption = write_captions(schema, make_triplet(schema, Labels((item.code,))), 1, seed=k)[0]
        mine = vocabulary.meanings[vocabulary.by_code[item.code]]
        # Large schemas are sampled: every class as a caption, a spread of classes as labels.
        step = max(1, len(schema.classes) // 40)
        for other in schema.classes[k % step :: step]:
            index = vocabulary.by_code[other.code]
            theirs = vocabulary.meanings[index]
            same = mine.concept is not None and mine.concept == theirs.concept and mine.anatomy == theirs.anatomy
            if index in mine.implies or same or (mine.kind == "normal" and theirs.kind == "absence"):
                continue
            pairs += 1
            if checker.check(caption, [other.code]).agrees:
                passed.append((item.code, other.code, caption))
    assert len(passed) <= 0.005 * pairs, passed
