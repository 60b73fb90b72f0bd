"""People judge a sample in the report itself: by mouse, keys and screen reader; what they say goes back to the checker."""

import json
from itertools import pairwise

import pytest

from captioner.audit import audit, read_review, write_sample
from captioner.audit.review import COLUMNS
from captioner.report import write_report
from tests.audit.makers import DENIED, EXTRA, GOOD, HEDGED, NODULE, jsonl, picture
from tests.report.test_report_browser import ATTACK
from tests.small import small_schema

CAPTIONS = (GOOD, DENIED, EXTRA, HEDGED, ATTACK, "=1+1 pleural effusion", NODULE)
COUNT = len(CAPTIONS)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    (folder / "a.png").write_bytes(picture())
    rows = [{"labels": ["Effusion"], "caption": c, "image": "a.png"} for c in CAPTIONS]
    found = audit(jsonl(folder / "rows.jsonl", rows), small_schema(), review=0.1)
    page = write_report(found, folder / "out").html
    write_sample(found, folder / "out")
    return page


@pytest.fixture
def opened(browser, report):
    browser.size(1280)
    browser.scheme("light")
    browser.open(report)
    browser.js("localStorage.clear()")
    browser.open(report)
    return browser


def current(browser):
    """The caption that is to be judged."""
    return browser.js("document.querySelector('.case:not([hidden]) .caption').textContent")


def said(browser):
    return browser.js("document.querySelector('#review output').textContent")


def seen(browser, selector):
    return browser.js(f"[...document.querySelectorAll({json.dumps(selector)})].some(e => e.checkVisibility())")


def test_a_sample_is_judged_with_the_keyboard_saved_and_read_back(opened, report, tmp_path):
    opened.type("[name=reviewer]", "Anna B.")
    opened.click("[data-do=begin]")
    for number in range(COUNT):
        assert said(opened) == f"{number} of {COUNT} judged"
        opened.key("d" if "without" in current(opened) else "a")
    assert said(opened) == f"{COUNT} of {COUNT} judged"
    sheet = opened.download(tmp_path, "[data-do=save]")
    assert sheet.name == "review-Anna-B-.csv"
    assert sheet.read_text(encoding="utf-8-sig").splitlines()[0] == ",".join(f'"{c}"' for c in COLUMNS)
    assert "\"'=1+1" in sheet.read_text(encoding="utf-8-sig")
    found = read_review(report.with_name("review.json"), [sheet])
    assert found.reviewed == COUNT
    assert found.agreement.value == pytest.approx((COUNT - 1) / COUNT)
    assert found.recall.value == 1
    assert opened.requests() == []
    assert opened.complaints() == []


def test_verdicts_outlive_the_page_and_each_reviewer_has_their_own(opened, report):
    opened.click("[data-do=begin]")
    opened.key("a")
    opened.key("d")
    opened.type("[name=reviewer]", "anna")
    assert said(opened) == f"2 of {COUNT} judged"  # what was judged before a name was given is hers
    opened.open(report)
    assert opened.js("document.querySelector('[name=reviewer]').value") == "anna"
    assert said(opened) == f"2 of {COUNT} judged"
    assert opened.js("document.querySelector('[data-do=begin]').textContent") == "Go on"
    opened.js("document.querySelector('[name=reviewer]').value = ''")
    opened.type("[name=reviewer]", "ben")
    assert said(opened) == f"0 of {COUNT} judged"


def test_the_checkers_verdict_stays_hidden_until_one_has_ones_own_and_asks(opened):
    opened.click("[data-do=begin]")
    assert not seen(opened, "#examples, #issues, nav")
    while current(opened) != DENIED:
        opened.key("ArrowRight")
    assert not seen(opened, ".case mark, .case .reasons")
    opened.click("[name=reveal]")
    assert not seen(opened, ".case mark, .case .reasons")
    opened.click("[data-verdict=agree]")
    assert seen(opened, ".case mark")
    assert opened.js("document.querySelector('.told').textContent") == "The checker says that it disagrees: you differ."
    opened.click("[data-verdict=agree]")  # once more takes it back
    assert said(opened) == f"0 of {COUNT} judged"
    assert not seen(opened, ".case mark")


def test_letters_belong_to_the_fields_that_one_writes_in_and_escape_leads_back(opened):
    opened.click("[data-do=begin]")
    first = current(opened)
    opened.js("document.querySelector('[name=comment]').focus()")
    opened.key("a")
    opened.key("d")
    assert (said(opened), current(opened)) == (f"0 of {COUNT} judged", first)
    assert opened.js("document.querySelector('[name=comment]').value") == "ad"
    opened.key("Escape")
    assert seen(opened, "#examples")
    opened.key("d")
    assert said(opened) == f"0 of {COUNT} judged"


def test_what_is_judged_is_read_aloud_and_every_button_has_a_name(opened):
    opened.click("[data-do=begin]")
    assert opened.js("document.activeElement.matches('.case:not([hidden])')")
    assert opened.js("document.activeElement.getAttribute('aria-label')") == f"Caption 1 of {COUNT}"
    opened.key("ArrowRight")
    assert opened.js("document.activeElement.getAttribute('aria-label')") == f"Caption 2 of {COUNT}"
    assert opened.js(
        "[...document.querySelectorAll('#review :is(button, progress)')].every(e => e.ariaLabel || e.textContent)"
    )
    assert opened.js("[...document.querySelectorAll('#review input')].every(e => e.labels.length == 1)")
    assert opened.js("document.querySelector('#review output').ariaLive") == "polite"
    levels = opened.js("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_markup_in_a_caption_does_nothing_while_it_is_judged(opened):
    opened.click("[data-do=begin]")
    opened.click("[name=reveal]")
    for _ in range(COUNT):
        opened.key("a")
        opened.key("ArrowRight")
    assert opened.js("window.pwned") is None
    assert opened.js("document.querySelectorAll('.case .caption :is(img, script)').length") == 0


def test_a_browser_that_keeps_nothing_says_so_and_what_is_not_ours_does_no_harm(opened, report):
    sample = opened.js("document.getElementById('review').dataset.sample")
    for content in ("{", "[1]", "null", '{"x": 3}'):
        opened.js(f"localStorage.setItem({json.dumps(f'captioner review {sample} ')}, {json.dumps(content)})")
        opened.open(report)
        assert said(opened) == f"0 of {COUNT} judged"
        assert opened.complaints() == []
    opened.js("Storage.prototype.setItem = () => { throw new Error('full'); }")
    opened.click("[data-do=begin]")
    opened.key("a")
    assert said(opened) == f"1 of {COUNT} judged; this browser keeps nothing: save before you close it"


@pytest.mark.parametrize("width", [260, 390, 1280])
def test_nothing_sticks_out_of_the_window_while_judging(opened, width):
    opened.size(width)
    opened.click("[data-do=begin]")
    opened.click("[name=reveal]")
    opened.key("a")
    assert opened.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_without_a_sample_there_is_no_review(tmp_path):
    found = audit(jsonl(tmp_path / "a.jsonl"), small_schema())
    page = write_report(found, tmp_path / "out").html.read_text(encoding="utf-8")
    assert 'id="review"' not in page
    assert "--review 0.05" in page
