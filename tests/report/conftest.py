"""Browsers and reports to look at."""

import pytest

from tests.report.browser import Browser


@pytest.fixture(scope="module")
def browser():
    page = Browser()
    yield page
    page.close()
