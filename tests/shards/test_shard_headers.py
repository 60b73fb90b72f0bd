"""What the header says is what Pillow says."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner.shards.headers import plain_header

SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def saved(mode, size, form, **options):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


@given(SIZES, st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]))
def test_a_png_is_what_pillow_says_or_left_to_pillow(size, mode):
    found = plain_header(saved(mode, size, "PNG"), "png")
    assert found in ((*size, mode), None)
    assert found is not None or mode in ("1", "I;16", "P")


@given(SIZES, st.sampled_from(["L", "RGB", "CMYK"]), st.booleans(), st.binary(max_size=300))
def test_a_jpeg_is_what_pillow_says_or_left_to_pillow(size, mode, progressive, comment):
    content = saved(mode, size, "JPEG", progressive=progressive, comment=comment, icc_profile=comment)
    found = plain_header(content, "jpg")
    assert found == (None if mode == "CMYK" else (*size, mode))


@given(st.binary(max_size=200), st.sampled_from(["jpg", "png"]))
def test_other_bytes_are_left_to_pillow(content, kind):
    start = b"\xff\xd8\xff" if kind == "jpg" else b"\x89PNG\r\n\x1a\n"
    found = plain_header(start + content, kind)
    assert found is None or (found[0] > 0 and found[1] > 0)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_header_that_is_cut_off_is_left_to_pillow(kind):
    content = saved("RGB", (40, 30), {"jpg": "JPEG", "png": "PNG"}[kind])
    for end in range(3, 33):
        assert plain_header(content[:end], kind) is None
