"""Objects behind URLs are read as files are, and what goes wrong is said without secrets."""

import asyncio
import pickle
import threading
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from captioner import storage
from captioner.errors import StorageError, UsageError
from captioner.storage import Ranges, Remote, mapped, place, relative, without_secrets


@pytest.fixture(scope="module")
def website(tmp_path_factory):
    """A folder behind http, and its URL."""
    folder = tmp_path_factory.mktemp("website")
    (folder / "a").mkdir()
    (folder / "a" / "text.txt").write_bytes(b"0123456789" * 100)
    loop = asyncio.new_event_loop()

    async def start():
        app = web.Application()
        app.router.add_static("/files", folder)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, site._server.sockets[0].getsockname()[1]

    runner, port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{port}/files"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class TestNames:
    def test_a_path_stays_a_path_and_a_url_becomes_remote(self, tmp_path):
        assert place("out/images") == Path("out/images")
        assert place(tmp_path) is tmp_path
        assert place("/data/a:b//c") == Path("/data/a:b//c")
        remote = place("s3://bucket/out/")
        assert isinstance(remote, Remote)
        assert place(remote) is remote

    def test_parts_are_those_of_a_path(self):
        remote = place("s3://bucket/out") / "images" / "set-000000.tar"
        assert str(remote) == "s3://bucket/out/images/set-000000.tar"
        assert (remote.name, remote.stem, remote.suffix) == ("set-000000.tar", "set-000000", ".tar")
        assert str(remote.parent.parent) == "s3://bucket/out"
        assert str(place("s3://bucket").parent) == "s3://bucket"
        assert relative(remote, place("s3://bucket/out")) == "images/set-000000.tar"

    def test_remotes_can_be_compared_hashed_and_pickled(self):
        one, two = place("s3://bucket/a"), place("s3://bucket/b")
        assert sorted([two, one]) == [one, two]
        assert {one, place("s3://bucket//a/")} == {one}
        assert pickle.loads(pickle.dumps(one)) == one

    @pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", ".."])
    def test_no_name_leads_out_of_a_folder(self, name):
        with pytest.raises(UsageError, match="leads out"):
            place("s3://bucket/a") / name

    @pytest.mark.parametrize("url", ["s3://", "s3:///a", "s3://bucket/a/../b"])
    def test_a_url_that_names_no_place_is_refused(self, url):
        with pytest.raises(UsageError, match="no place that can be read"):
            place(url)

    def test_an_unknown_kind_of_storage_is_refused(self):
        with pytest.raises(UsageError, match="xyz:// is no kind of storage"):
            place("xyz://bucket/a").exists()

    def test_a_missing_package_is_named(self, monkeypatch):
        def missing(*_, **__):
            raise ImportError("no s3fs")

        storage._opened.cache_clear()
        monkeypatch.setattr("fsspec.filesystem", missing)
        with pytest.raises(UsageError, match=r"pip install 'captioner\[s3\]'"):
            place("s3://bucket/a").exists()
        storage._opened.cache_clear()


class TestSecrets:
    @pytest.mark.parametrize(
        "url",
        [
            "s3://KEY:SECRET@bucket/a",
            "s3://KEY:SEC/SECRET@bucket/a",
            "https://me:SECRET@host/a?sig=SECRET",
            "gs://SECRET@b/a",
        ],
    )
    def test_a_url_with_a_user_is_refused_without_repeating_it(self, url):
        with pytest.raises(UsageError, match="credentials are taken from the environment") as error:
            place(url)
        assert "SECRET" not in str(error.value)
        assert "KEY" not in str(error.value)

    def test_the_query_of_a_url_is_used_and_never_shown(self, website):
        remote = place(f"{website}/a?token=SECRET") / "text.txt"
        assert remote.stat().st_size == 1000
        assert "SECRET" not in f"{remote} {remote!r} {remote.name} {remote.parent}"
        with pytest.raises(FileNotFoundError) as error:
            (remote.parent / "nothing").read_bytes()
        assert "SECRET" not in str(error.value)

    def test_messages_of_libraries_lose_their_secrets(self):
        remote = place("http://127.0.0.1:1/a?token=SECRET")
        with pytest.raises(StorageError) as error:
            remote.read_bytes()
        assert "SECRET" not in str(error.value)
        assert "127.0.0.1:1" in str(error.value)
        assert error.value.__suppress_context__

    @given(st.from_regex(r"[a-zA-Z0-9%:+-]{1,20}", fullmatch=True))
    def test_text_around_urls_is_kept(self, secret):
        secret = f"<{secret}>"
        shown = without_secrets(f"GET https://u:{secret}@host:80/a/b?k={secret}&x=1 failed, see 's3://bucket/x'. Why?")
        assert shown == "GET https://host:80/a/b failed, see 's3://bucket/x'. Why?"


class TestObjects:
    def test_files_are_listed_and_read(self, bucket):
        for key in ("out/a.txt", "out/sub/b.txt", "out/sub/c.tar", "other/d.txt", "outer.txt"):
            bucket[key] = key.encode()
        out = place(f"{bucket.url}/out")
        assert out.files() == {"a.txt": 9, "sub/b.txt": 13, "sub/c.tar": 13}
        assert list(out.iterdir()) == [out / "a.txt", out / "sub"]
        assert out.glob("*/*.txt") == [out / "sub/b.txt"]
        assert out.glob("sub/c.tar") == [out / "sub/c.tar"]
        assert out.glob("nothing/*") == []
        assert (out / "a.txt").read_text() == "out/a.txt"
        assert (out.is_dir(), out.is_file(), (out / "a.txt").is_dir(), (out / "a.txt").is_file()) == (
            True,
            False,
            False,
            True,
        )
        assert not (out / "b.txt").exists()

    def test_names_that_look_like_patterns_or_queries_are_names(self, bucket):
        names = ["a b.txt", "[1].txt", "x?y.txt", "50%.txt", "grün.txt", "a#b.txt", "a+b.txt"]
        folder = place(f"{bucket.url}/o")
        for name in names:
            (folder / name).write_bytes(name.encode())
        assert sorted(folder.files()) == sorted(names)
        assert all((folder / name).read_bytes() == name.encode() for name in names)
        assert {each.name for each in folder.glob("*.txt")} == set(names)

    def test_keys_that_could_be_mistaken_for_others_are_not_listed(self, bucket):
        for key in ("o/a", "o//b", "o/../c", "o/./d", "o/e/"):
            bucket[key] = b"x"
        assert set(place(f"{bucket.url}/o").files()) == {"a"}

    def test_nothing_that_was_listed_is_remembered(self, bucket):
        folder = place(f"{bucket.url}/o")
        bucket["o/a"] = b"1"
        assert list(folder.files()) == ["a"]
        bucket["o/b"] = b"12"
        assert (folder / "b").stat().st_size == 2
        bucket["o/b"] = b"123"
        assert (folder / "b").stat().st_size == 3
        assert list(folder.files()) == ["a", "b"]

    def test_a_file_object_reads_and_seeks(self, bucket):
        bucket["a"] = content = bytes(range(256)) * 1000
        with place(f"{bucket.url}/a").open() as file:
            assert file.read(10) == content[:10]
            file.seek(-4, 2)
            assert file.read() == content[-4:]
            file.seek(100)
            assert file.read(70_000) == content[100:70_100]
            file.seek(0)
            assert file.read() == content

    def test_an_empty_object_is_empty(self, bucket):
        bucket["a"] = b""
        remote = place(f"{bucket.url}/a")
        assert remote.read_bytes() == b""
        assert remote.open().read() == b""
        assert mapped(remote)[0:512] == b""

    def test_what_is_not_there_says_so(self, bucket):
        with pytest.raises(FileNotFoundError, match="there is no such object"):
            place(f"{bucket.url}/a").read_bytes()
        with pytest.raises(FileNotFoundError, match="the bucket does not exist"):
            place("s3://no-such-bucket/a").read_bytes()
        with pytest.raises(StorageError, match="cannot write s3://no-such-bucket/a: the bucket does not exist"):
            place("s3://no-such-bucket/a").write_bytes(b"x")
        assert not place("s3://no-such-bucket/a").exists()

    def test_storage_that_does_not_answer_says_so(self, bucket):
        bucket["a"] = b"x"
        bucket.wire.cut_after(0)
        for action in (Remote.read_bytes, Remote.files, Remote.stat, Remote.exists, lambda r: r.write_bytes(b"y")):
            with pytest.raises(StorageError, match=r"endpoint|connect|Connection"):
                action(place(f"{bucket.url}/a"))
        assert bucket["a"] == b"x"


class TestRanges:
    CONTENT = bytes(i * i % 251 for i in range(3_000_000))

    class Counted:
        def __init__(self, content):
            self.content, self.reads = content, []

        def stat(self):
            return storage.Stat(len(self.content))

        def read_part(self, start, end):
            self.reads.append(end - start)
            return self.content[start:end]

    @given(st.lists(st.tuples(st.integers(0, 3_000_100), st.integers(0, 200_000)), max_size=30))
    def test_slices_are_those_of_the_bytes(self, parts):
        ranges = Ranges(self.Counted(self.CONTENT))
        assert len(ranges) == len(self.CONTENT)
        for start, length in parts:
            assert ranges[start : start + length] == self.CONTENT[start : start + length]

    def test_reading_from_front_to_back_takes_few_requests(self):
        remote = self.Counted(self.CONTENT)
        ranges = Ranges(remote)
        assert b"".join(ranges[i : i + 10_000] for i in range(0, len(self.CONTENT), 10_000)) == self.CONTENT
        assert len(remote.reads) < 5
        assert sum(remote.reads) < 1.01 * len(self.CONTENT)

    def test_reading_here_and_there_takes_what_is_asked_for(self):
        remote = self.Counted(self.CONTENT)
        ranges = Ranges(remote)
        for start in (2_900_000, 0, 1_500_000, 100_000):
            ranges[start : start + 100]
        assert remote.reads == [100] * 4

    def test_an_object_that_has_become_shorter_is_an_error(self, bucket):
        bucket["a"] = b"x" * 1000
        ranges = mapped(place(f"{bucket.url}/a"))
        bucket["a"] = b"x" * 10
        with pytest.raises(StorageError, match=r"10 bytes came instead of 500|range"):
            ranges[0:500]


def test_http_reads_files_and_lists_nothing(website):
    folder = place(website)
    remote = folder / "a" / "text.txt"
    assert remote.is_file()
    assert remote.exists()
    assert not (folder / "b").exists()
    assert remote.read_part(3, 7) == b"3456"
    assert mapped(remote)[998:1010] == b"89"
    assert (folder.is_dir(), list(folder.iterdir()), folder.glob("*")) == (False, [], [])
    with pytest.raises(UsageError, match="cannot be listed"):
        folder.files()
