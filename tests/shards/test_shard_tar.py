"""The tar writer writes what tarfile writes; the scanner notices what other readers do not."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import ShardError
from captioner.shards import tar

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,80}\.(jpg|png|captions\.json)", fullmatch=True)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=12)


def written(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    writer = tar.Writer(buffer)
    for name, payload in members:
        writer.add(name, payload)
    writer.finish()
    assert writer.size == len(buffer.getvalue())
    return buffer.getvalue()


@given(MEMBERS)
def test_the_bytes_are_those_of_pythons_tarfile(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, payload in members:
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            archive.addfile(info, io.BytesIO(payload))
    assert written(members) == buffer.getvalue()


@given(MEMBERS)
def test_scanning_gives_back_every_member(members):
    archive = written(members)
    found = [(m.name, archive[m.offset : m.offset + m.size]) for m in tar.scan(archive)]
    assert found == members


def test_gnu_tar_reads_the_archive(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(written([("a.jpg", b"x" * 513), ("b.png", b"")]))
    listing = subprocess.run(
        ["tar", "tvf", "a.tar"],
        cwd=tmp_path,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert [line.split() for line in listing.stdout.splitlines()] == [
        ["-rw-r--r--", "0/0", "513", "1970-01-01", "00:00", "a.jpg"],
        ["-rw-r--r--", "0/0", "0", "1970-01-01", "00:00", "b.png"],
    ]


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1])
def test_a_header_is_what_tarfile_makes_of_any_size(size):
    info = tarfile.TarInfo("a.jpg")
    info.size = size
    assert tar.header("a.jpg", size) == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(("name", "size"), [("", 1), ("a" * 101, 1), ("a.jpg", 8**11), ("é.jpg", 1)])
def test_what_ustar_cannot_hold_is_refused(name, size):
    with pytest.raises(ValueError):
        tar.header(name, size)


ARCHIVE = written([("a.jpg", b"1" * 700), ("b.jpg", b"2" * 512), ("c.jpg", b"")])


def test_an_archive_that_is_cut_off_anywhere_is_noticed():
    for end in range(len(ARCHIVE)):
        with pytest.raises(ShardError, match="cut off"):
            list(tar.scan(ARCHIVE[:end]))


def test_a_bit_that_flips_in_any_header_or_in_the_archives_end_is_noticed():
    members = list(tar.scan(ARCHIVE))
    payload = {i for m in members for i in range(m.offset, m.offset + m.size + -m.size % tar.BLOCK)}
    for position in sorted(set(range(len(ARCHIVE))) - payload):
        flipped = bytearray(ARCHIVE)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(ShardError, match=r"damaged|after the archive's end|cut off"):
            list(tar.scan(bytes(flipped)))


@given(st.binary(max_size=4096))
def test_any_other_bytes_are_refused_with_a_message(content):
    with pytest.raises(ShardError):
        list(tar.scan(content))
