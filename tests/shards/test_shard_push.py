"""What a push leaves in object storage is whole at every moment, and the same however often it was interrupted."""

import hashlib
import io
import json
import os
import queue
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from captioner.errors import OutputError, ShardError, StorageError, UsageError
from captioner.folder import lock, marker
from captioner.push import push
from captioner.shards import build_captions, build_images, read_manifest, verify
from captioner.storage import place


@pytest.fixture
def out(tmp_path, make_items, record):
    """An output folder with ten images in three shards and one finished run, and what must not be pushed."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "captioner.json").write_bytes(marker("set"))
    build_images(make_items(10), out / "images", dataset="set", per_shard=4)
    add_run(out, "r1", record)
    return out


def add_run(out, name, record):
    run = out / "runs" / name
    build_captions(out / "images", run / "captions", captions=record, run=name)
    for file in ("support_sets.parquet", "summary.json", "pipeline.yaml", "ledger.sqlite", "rejected.parquet"):
        (run / file).write_text(f"{file} of {name}")


def pushed(out):
    """What a push of a whole output folder leaves."""
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    return {
        path: content
        for path, content in files.items()
        if path.rpartition("/")[2] not in {".lock", "ledger.sqlite", "rejected.parquet"}
    }


def promises_are_kept(bucket):
    """Check that everything that a manifest in the bucket vouches for is there, whole."""
    bucket.wire.settle()
    for key in bucket:
        folder = key.rpartition("/")[0]
        if key.endswith("manifest.parquet"):
            shards = json.loads(pq.read_metadata(io.BytesIO(bucket[key])).metadata[b"captioner"])["shards"]
        elif key.endswith("run.json"):
            shards = json.loads(bucket[key])["shards"]
        else:
            continue
        for shard in shards:
            content = bucket[f"{folder}/{shard['name']}"]
            assert hashlib.sha256(content).hexdigest() == shard["sha256"], key


class TestWhatIsThere:
    def test_shards_manifests_support_sets_and_summaries_are_put(self, out, bucket):
        report = push(out, f"{bucket.url}/p")
        assert {f"p/{path}": content for path, content in pushed(out).items()} == bucket.contents()
        assert (report.runs, dict(report.left_out), report.kept) == (("r1",), {}, 0)
        assert report.put == len(list(bucket))
        assert report.bytes == sum(map(len, bucket.contents().values()))
        assert verify(place(f"{bucket.url}/p/images")) == []
        assert verify(place(f"{bucket.url}/p/runs/r1/captions"), images=place(f"{bucket.url}/p/images")) == []

    def test_no_ledger_and_no_lock_leaves_the_machine(self, out, bucket):
        push(out, bucket.url)
        assert not [key for key in bucket if "ledger" in key or "lock" in key or "rejected" in key]

    def test_nothing_is_put_again(self, out, bucket):
        push(out, bucket.url)
        before = bucket.stamps()
        sent = bucket.wire.sent
        report = push(out, bucket.url)
        assert (report.put, report.bytes, report.kept) == (0, 0, 6)
        assert bucket.stamps() == before
        assert bucket.wire.sent - sent < sum(path.stat().st_size for path in out.rglob("*.tar"))

    def test_later_pushes_add_only_what_is_new(self, out, bucket, make_items, record):
        push(out, bucket.url)
        before = bucket.contents()
        build_images(make_items(13), out / "images", dataset="set", per_shard=4)
        add_run(out, "r2", record)
        build_captions(out / "images", out / "runs/r1/captions", captions=record, run="r1")
        report = push(out, bucket.url)
        assert bucket.contents() == pushed(out)
        assert report.kept == 6
        assert {k: v for k, v in bucket.contents().items() if k in before and k.endswith(".tar")} == {
            k: v for k, v in before.items() if k.endswith(".tar")
        }
        assert verify(place(f"{bucket.url}/images")) == []

    def test_captions_that_were_written_anew_replace_those_there(self, out, bucket, record):
        push(out, bucket.url)
        build_captions(
            out / "images",
            out / "runs/r1/captions",
            captions=lambda key: {"captions": [f"new {key}"]} if key > "set-000003" else record(key),
            run="r1",
        )
        assert push(out, bucket.url).kept == 4
        assert bucket.contents() == pushed(out)

    def test_one_run_can_be_pushed_alone_and_unfinished_ones_are_left_out(self, out, bucket, record):
        add_run(out, "r2", record)
        (out / "runs" / "begun").mkdir()
        report = push(out, bucket.url, run="r2")
        assert report.runs == ("r2",)
        assert not [key for key in bucket if "r1" in key]
        report = push(out, bucket.url)
        assert report.runs == ("r1", "r2")
        assert report.left_out == {"begun": "the run is not finished; start it again"}
        with pytest.raises(OutputError, match="not finished"):
            push(out, bucket.url, run="begun")
        with pytest.raises(UsageError, match="no run 'r3'; it has: begun, r1, r2"):
            push(out, bucket.url, run="r3")

    def test_a_run_without_images_is_pushed_too(self, tmp_path, bucket):
        run = tmp_path / "out" / "runs" / "r1"
        run.mkdir(parents=True)
        (tmp_path / "out" / "captioner.json").write_bytes(marker("set"))
        (run / "support_sets.parquet").write_text("sets")
        (run / "captions.parquet").write_text("captions")
        push(tmp_path / "out", bucket.url)
        assert bucket.contents() == pushed(tmp_path / "out")

    def test_progress_is_told(self, out, bucket):
        told = []
        push(out, bucket.url, progress=lambda done, of: told.append((done, of)))
        assert told == [(i, 6) for i in range(7)]


class TestWhatIsRefused:
    def test_a_target_with_something_else(self, out, bucket):
        bucket["p/notes.txt"] = b"mine"
        with pytest.raises(OutputError, match=r"is not empty \(notes.txt\)"):
            push(out, f"{bucket.url}/p")
        assert bucket.contents() == {"p/notes.txt": b"mine"}

    def test_a_target_of_another_dataset(self, out, bucket):
        bucket["captioner.json"] = marker("other")
        with pytest.raises(OutputError, match="holds the dataset 'other', not 'set'"):
            push(out, bucket.url)
        bucket["captioner.json"] = b"{}"
        with pytest.raises(OutputError, match="is not captioner's"):
            push(out, bucket.url)

    @pytest.mark.parametrize("folder", ["images", "runs/r1/captions"])
    def test_a_target_with_a_foreign_shard(self, out, bucket, folder):
        push(out, bucket.url)
        bucket[f"{folder}/set-000009.tar"] = b"x"
        before = bucket.stamps()
        with pytest.raises(OutputError, match=r"holds set-000009.tar, which"):
            push(out, bucket.url)
        assert bucket.stamps() == before

    def test_a_target_with_other_images(self, out, bucket, tmp_path, make_items):
        other = tmp_path / "other"
        build_images(make_items(12)[1:], other / "images", dataset="set", per_shard=4)
        push(other, bucket.url)
        before = bucket.stamps()
        with pytest.raises(OutputError, match="holds other images"):
            push(out, bucket.url)
        assert bucket.stamps() == before

    def test_a_target_with_more_images(self, out, bucket, tmp_path, make_items):
        larger = tmp_path / "larger"
        build_images(make_items(8), larger / "images", dataset="set", per_shard=4)
        build_images(make_items(20), larger / "images", dataset="set", per_shard=4)
        smaller = tmp_path / "smaller"
        build_images(make_items(8), smaller / "images", dataset="set", per_shard=4)
        push(larger, bucket.url)
        with pytest.raises(OutputError, match="holds other images"):
            push(smaller, bucket.url)

    def test_a_target_with_part_of_other_images(self, out, bucket, tmp_path, make_items):
        other = tmp_path / "other"
        build_images(make_items(12)[1:], other / "images", dataset="set", per_shard=4)
        push(other, bucket.url)
        del bucket["images/manifest.parquet"]
        bucket["images/pushing.json"] = json.dumps(
            {"put": {shard.name: shard.sha256 for shard in read_manifest(other / "images").shards}}
        ).encode()
        with pytest.raises(OutputError, match="holds other images"):
            push(out, bucket.url)

    def test_a_folder_with_a_damaged_shard(self, out, bucket):
        path = out / "images" / "set-000001.tar"
        content = bytearray(path.read_bytes())
        content[600] ^= 1
        path.write_bytes(content)
        with pytest.raises(ShardError, match=r"set-000001.tar is missing or damaged"):
            push(out, bucket.url)
        assert "images/manifest.parquet" not in bucket

    @pytest.mark.parametrize("name", ["manifest.parquet", "sizes.json", "SHA256SUMS"])
    def test_a_folder_with_a_damaged_list(self, out, bucket, name):
        path = out / "images" / name
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
        with pytest.raises(ShardError):
            push(out, bucket.url)
        assert list(bucket) == []

    def test_a_folder_in_use_or_unfinished_or_empty(self, out, bucket, tmp_path):
        with lock(out), pytest.raises(OutputError, match="another run is at work"):
            push(out, bucket.url)
        (out / "images" / "building.jsonl").write_text("")
        with pytest.raises(OutputError, match="unfinished build"):
            push(out, bucket.url)
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="nothing to push"):
            push(tmp_path / "empty", bucket.url)
        with pytest.raises(UsageError, match="no such folder"):
            push(tmp_path / "nowhere", bucket.url)
        assert list(bucket) == []

    def test_captions_of_other_images_are_left_out(self, out, bucket, tmp_path, make_items, record):
        other = tmp_path / "other"
        build_images(make_items(12)[1:], other / "images", dataset="set", per_shard=4)
        add_run(other, "r1", record)
        (other / "runs" / "r1").rename(out / "runs" / "r2")
        assert push(out, bucket.url).left_out == {"r2": "its captions were written for other images"}

    @pytest.mark.parametrize("target", ["/tmp/folder", "https://example.org/folder"])
    def test_what_is_no_object_storage(self, out, target):
        with pytest.raises(UsageError, match="no object storage"):
            push(out, target)

    def test_a_missing_bucket(self, out, bucket):
        with pytest.raises(StorageError, match="the bucket does not exist"):
            push(out, "s3://no-such-bucket/p")


class TestInterruptions:
    def test_a_server_that_dies_at_any_byte_leaves_no_broken_promise(self, out, bucket):
        push(out, f"{bucket.url}/whole")
        start = bucket.wire.sent
        push(out, f"{bucket.url}/again")
        cost = bucket.wire.sent - start
        whole = pushed(out)
        for i, cut in enumerate(range(500, cost, cost // 7)):
            bucket.wire.cut_after(cut)
            with pytest.raises(StorageError):
                push(out, f"{bucket.url}/{i}")
            promises_are_kept(bucket)
            bucket.wire.mend()
            push(out, f"{bucket.url}/{i}")
            found = {k.removeprefix(f"{i}/"): v for k, v in bucket.contents().items() if k.startswith(f"{i}/")}
            assert found == whole

    def test_a_server_that_dies_while_shards_are_replaced_or_added(self, out, bucket, make_items, record):
        for i in range(8):
            push(out, bucket.url)
            build_images(make_items(14 + 4 * i), out / "images", dataset="set", per_shard=4)
            build_captions(
                out / "images",
                out / "runs/r1/captions",
                captions=lambda key, i=i: {"captions": [f"{i} {key}"]},
                run="r1",
            )
            bucket.wire.cut_after(6_000 + 5_000 * i)
            with pytest.raises(StorageError):
                push(out, bucket.url)
            promises_are_kept(bucket)
            bucket.wire.mend()
        push(out, bucket.url)
        assert bucket.contents() == pushed(out)
        promises_are_kept(bucket)

    def test_a_push_goes_on_where_it_stopped(self, tmp_path, bucket, make_items):
        out = tmp_path / "many"
        build_images(make_items(30), out / "images", dataset="set", per_shard=1)
        push(out, f"{bucket.url}/whole")
        start = bucket.wire.sent
        push(out, f"{bucket.url}/again")
        cost = bucket.wire.sent - start
        bucket.wire.cut_after(cost * 2 // 3)
        with pytest.raises(StorageError):
            push(out, f"{bucket.url}/p")
        bucket.wire.mend()
        there = [key for key in bucket if key.startswith("p/") and key.endswith(".tar")]
        assert len(there) > 10
        assert [(p.file, p.code) for p in verify(place(f"{bucket.url}/p/images"))] == [("pushing.json", "unfinished")]
        assert push(out, f"{bucket.url}/p").kept >= len(there) - 6
        assert verify(place(f"{bucket.url}/p/images")) == []

    def test_an_object_that_was_cut_short_is_put_again(self, out, bucket):
        push(out, bucket.url)
        bucket["images/set-000001.tar"] = bucket["images/set-000001.tar"][:1536]
        assert ("set-000001.tar", "truncated") in [(p.file, p.code) for p in verify(place(f"{bucket.url}/images"))]
        assert push(out, bucket.url).put == 1
        assert bucket.contents() == pushed(out)

    def test_existence_proves_nothing(self, out, bucket):
        """An object of the right name and size that nothing vouches for is put again."""
        bucket["captioner.json"] = marker("set")
        path = out / "images" / "set-000001.tar"
        bucket["images/set-000001.tar"] = bytes(path.stat().st_size)
        push(out, bucket.url)
        assert bucket.contents() == pushed(out)

    @pytest.mark.slow
    def test_a_push_that_is_killed_and_repeated_ends_the_same(self, out, bucket):
        command = [sys.executable, "-m", "captioner", "shards", "push", out, f"{bucket.url}/p"]
        start = bucket.wire.sent
        push(out, f"{bucket.url}/whole")
        cost = bucket.wire.sent - start
        for cut in (500, cost // 6, cost // 6, cost // 6):
            started = queue.SimpleQueue()
            bucket.wire.cut_after(cut, lambda started=started: started.get().kill())
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
            started.put(process)
            assert process.wait() == -signal.SIGKILL
            promises_are_kept(bucket)
            bucket.wire.mend()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = {k.removeprefix("p/"): v for k, v in bucket.contents().items() if k.startswith("p/")}
        assert found == pushed(out)


def test_wrong_credentials_are_an_error_that_names_none(out, bucket, tmp_path):
    import requests

    requests.post(f"{bucket.server.direct}/moto-api/reset-auth", data=b"0", timeout=None)
    try:
        code = f"from captioner.push import push; from pathlib import Path; push(Path({str(out)!r}), '{bucket.url}/p')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    finally:
        requests.post(f"{bucket.server.direct}/moto-api/reset-auth", data=b"inf", timeout=None)
    last = done.stderr.strip().splitlines()[-1]
    assert "StorageError: cannot list s3://" in last
    assert "access is denied" in last
    assert "Check the credentials" in last
    assert "a-test-secret" not in done.stderr
    assert list(bucket) == []
