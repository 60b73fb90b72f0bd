"""The report in a real browser: what a person clicks, reads and hears. Skips where there is no browser."""

import json
from itertools import pairwise

import pytest

from captioner.audit import audit
from captioner.report import write_report
from tests.audit.makers import DENIED, EXTRA, GOOD, ROWS, jsonl, picture
from tests.small import small_schema

ATTACK = "Effusion <script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>\u202e\x00 \"' </style>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "a.png").write_bytes(picture())
    rows = [r | {"engine": "model-a", "image": "a.png"} for r in ROWS]
    rows += [{"labels": ["Effusion"], "caption": c, "engine": "<i>b</i>"} for c in (GOOD, DENIED, EXTRA, ATTACK)]
    found = audit(jsonl(folder / "rows.jsonl", rows), small_schema())
    for _ in range(2):
        written = write_report(found, folder / "out")
    return written.html


@pytest.fixture
def opened(browser, page):
    browser.size(1280)
    browser.scheme("light")
    browser.open(page)
    return browser


def shown(browser):
    return browser.js("[...document.querySelectorAll('.example:not([hidden])')].map(e => e.dataset.codes)")


def test_the_page_asks_for_nothing_and_the_browser_objects_to_nothing(opened):
    assert opened.requests() == []
    assert opened.complaints() == []


def test_markup_in_a_caption_is_shown_as_text_and_does_nothing(opened):
    assert opened.js("window.pwned") is None
    assert opened.js("document.scripts.length") == 1
    assert opened.js("document.querySelectorAll('.caption img, .caption script, i').length") == 0
    assert opened.js("document.body.textContent.includes('<script>window.pwned')")


def test_a_cell_of_the_heat_map_leads_to_its_examples(opened):
    everything = len(shown(opened))
    opened.click("table.heat a[data-code=negated_label]")
    assert shown(opened)
    assert all("negated_label" in codes.split() for codes in shown(opened))
    assert len(shown(opened)) < everything
    assert opened.js("document.querySelector('output').textContent").endswith(f"of {everything} examples")
    opened.click("button[type=reset]")
    assert len(shown(opened)) == everything


def test_a_cell_of_errors_by_split_leads_to_that_splits_examples(opened):
    opened.click("#groups table.heat a[data-code=hedged_label]")
    group = opened.js("document.querySelector('select[name=group]').selectedOptions[0].text")
    assert group == "split: test"
    assert all("hedged_label" in codes.split() for codes in shown(opened))
    assert 0 < len(shown(opened)) < 4
    opened.click("button[type=reset]")


def test_examples_are_filtered_by_engine_and_by_words(opened):
    opened.js(
        "(() => { const s = document.querySelector('select[name=group]');"
        " s.value = [...s.options].find(o => o.text == 'engine: <i>b</i>').value;"
        " s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    assert len(shown(opened)) == 4
    opened.js(
        "(() => { const s = document.querySelector('input[name=words]'); s.value = 'without';"
        " s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    assert len(shown(opened)) == 1
    opened.js("document.querySelector('input[name=words]').value = 'no such word'")
    opened.js("document.querySelector('input[name=words]').dispatchEvent(new Event('input', {bubbles: true}))")
    assert shown(opened) == []
    assert not opened.js("document.querySelector('.empty').hidden")
    opened.click("button[type=reset]")


def test_each_example_has_an_address_that_finds_it_even_when_it_was_filtered_away(opened, page):
    ids = opened.js("[...document.querySelectorAll('.example')].map(e => e.id)")
    assert len(set(ids)) == len(ids)
    last = ids[-1]
    opened.click("table.heat a[data-code=negated_label]")
    opened.js(f"location.hash = {json.dumps('#' + last)}")
    opened.settle()
    assert not opened.js(f"document.getElementById({json.dumps(last)}).hidden")
    opened.open(page, f"#{last}")
    assert opened.js("document.querySelector(':target').id") == last


def test_the_page_can_be_used_from_the_keyboard(opened):
    opened.key("Tab")
    assert opened.js("document.activeElement.textContent") == "Skip to the figures"
    opened.js("document.querySelector('table.heat a[data-code=hedged_label]').focus()")
    opened.key("Enter")
    assert all("hedged_label" in codes for codes in shown(opened))
    assert opened.js("document.activeElement.name") == "code"
    opened.click("button[type=reset]")


def test_a_screen_reader_finds_names_for_everything(opened):
    assert opened.js("document.documentElement.lang") == "en"
    assert opened.js("[...document.images].every(i => i.alt)")
    assert opened.js("document.images.length") > 0
    assert opened.js("[...document.querySelectorAll('select, input')].every(e => e.labels.length == 1)")
    assert opened.js(
        "[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-hidden') == 'true' || s.querySelector('title'))"
    )
    assert opened.js("[...document.querySelectorAll('th')].every(t => t.scope)")
    levels = opened.js("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("width", [260, 390, 1280])
def test_nothing_sticks_out_of_the_window_at_any_width(opened, width):
    opened.size(width)
    opened.settle()
    opened.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background_in_light_and_dark(opened, scheme):
    opened.scheme(scheme)
    ink, dim, accent, card = (
        opened.js(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        for name in ("ink", "dim", "accent", "card")
    )
    for color in (ink, dim, accent):
        assert contrast(color, card) >= 4.5, (scheme, color)  # WCAG 2.2, success criterion 1.4.3


def test_a_comparison_asks_for_nothing_fits_a_phone_and_shows_markup_as_text(browser, tmp_path):
    from captioner.audit.compare import Comparison, Difference, Pair, RunFigures
    from captioner.audit.statistics import wilson
    from captioner.report import write_comparison

    figures = [
        RunFigures(
            f"<b>run {i}</b>",
            "plain",
            "model",
            9,
            90,
            wilson(80 + i, 90),
            wilson(5, 9),
            *[1] * 8,
            None,
            0.5,
            2.5,
            VARIED,
        )
        for i in range(4)
    ]
    issue = {"code": "negated_label", "level": "error", "span": [0, 5], "cue": None}
    captions = tuple(((ATTACK, False, (issue,)), (GOOD, True, ())) for _ in figures)
    difference = Difference("t1", ("Effusion",), (0.5, 1, 1, 1), captions)
    pair = Pair(figures[0].run, figures[1].run, 1, 2, 3, 3, 0.5, 0.1, -0.1, 0.2)
    found = Comparison("small", "Small", {"Effusion": "effusion"}, 9, 1, tuple(figures), (pair,), (difference,))
    browser.size(390)
    browser.open(write_comparison(found, tmp_path))
    assert browser.requests() == []
    assert browser.complaints() == []
    assert browser.js("window.pwned") is None
    assert browser.js("document.querySelectorAll('main b b, th b').length") == 0
    assert browser.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


VARIED = {
    "words": 9.0,
    "distinct_1": 0.1,
    "distinct_2": 0.2,
    "distinct_captions": 1.0,
    "self_similarity": float("nan"),
    "texts_under_several_labels": 0.0,
}


def contrast(first, second):
    """The ratio of WCAG 2.2 for two colours as #rrggbb or #rgb."""

    def light(color):
        color = color.lstrip("#")
        color = "".join(c * 2 for c in color) if len(color) == 3 else color
        parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    one, two = sorted((light(first), light(second)))
    return (two + 0.05) / (one + 0.05)
