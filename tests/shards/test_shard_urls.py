"""Shards in object storage are read as those on disk: joined, as one tar, by key, and to verify them."""

import collections
import contextlib
import gc
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import webdataset
from webdataset.gopen import gopen

from captioner import run as running
from captioner.audit import audit
from captioner.cli import main
from captioner.demo import make_dataset
from captioner.errors import ShardError, StorageError, UsageError
from captioner.pipeline import load_pipeline
from captioner.push import push
from captioner.shards import Samples, build_captions, build_images, join_captions, load_captions, scheme, verify
from captioner.shards.sources import shard_name
from captioner.storage import place

# webdataset leaves the shards that it reads open until they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected():
    yield
    gc.collect()


@pytest.fixture
def local(tmp_path, make_items, record):
    """An output folder with ten images in three shards and two runs; r2 lacks the captions of set-000002."""
    out = tmp_path / "out"
    build_images(make_items(10), out / "images", dataset="set", per_shard=4)
    build_captions(out / "images", out / "runs/r1/captions", captions=record, run="r1")
    build_captions(
        out / "images",
        out / "runs/r2/captions",
        captions=lambda key: None if key == "set-000002" else record(key) | {"run": "r2"},
        run="r2",
    )
    for run in ("r1", "r2"):
        (out / "runs" / run / "support_sets.parquet").write_text("sets")
    return out


@pytest.fixture
def url(local, bucket):
    """The same in a bucket."""
    push(local, f"{bucket.url}/out")
    scheme.register()
    return f"{bucket.url}/out"


def dataset(url, **options):
    return webdataset.WebDataset(f"{url}/images/set-{{000000..000002}}.tar", **{"shardshuffle": False, **options})


class TestJoined:
    def test_images_meet_their_captions(self, url, record):
        samples = list(dataset(url, shardshuffle=3).compose(join_captions(f"{url}/runs/r1/captions")).decode())
        assert {s["__key__"]: s["captions.json"] for s in samples} == {
            f"set-{i:06d}": record(f"set-{i:06d}") for i in range(10)
        }

    def test_images_may_be_on_disk_and_captions_in_storage(self, url, local):
        samples = list(dataset(local).compose(join_captions(place(f"{url}/runs/r1/captions"))))
        assert len(samples) == 10

    def test_runs_are_mixed_by_weight(self, url):
        runs = {f"{url}/runs/r1/captions": 1.0, f"{url}/runs/r2/captions": 1.0}
        pipeline = dataset(url, resampled=True).compose(join_captions(runs)).decode().with_epoch(200)
        assert set(collections.Counter(s["captions.json"]["run"] for s in pipeline)) == {"r1", "r2"}

    def test_a_missing_caption_or_shard_is_an_error_or_skipped(self, url, bucket):
        folder = f"{url}/runs/r2/captions"
        with pytest.raises(ShardError, match="no captions for set-000002"):
            list(dataset(url).compose(join_captions(folder)))
        assert len(list(dataset(url).compose(join_captions(folder, missing="skip")))) == 9
        del bucket["out/runs/r2/captions/set-000001.tar"]
        with pytest.raises(ShardError, match=r"no caption shard s3://.*there is no such object"):
            list(join_captions(folder)(iter([{"__url__": f"{url}/images/set-000001.tar", "__key__": "set-000004"}])))
        assert len(list(dataset(url).compose(join_captions(folder, missing="skip")))) == 5

    @pytest.mark.parametrize("missing", ["error", "skip", "pass"])
    def test_a_folder_without_a_finished_run_is_always_an_error(self, url, missing):
        with pytest.raises(ShardError, match="no folder s3://"):
            list(dataset(url).compose(join_captions(f"{url}/runs/r3/captions", missing=missing)))

    @pytest.mark.parametrize("missing", ["error", "skip", "pass"])
    def test_storage_that_is_away_is_always_an_error(self, url, local, bucket, missing):
        stage = join_captions(f"{url}/runs/r1/captions", missing=missing)
        bucket.wire.cut_after(0)
        with pytest.raises(StorageError, match="cannot read s3://"):
            list(dataset(local).compose(stage))

    @pytest.mark.parametrize("missing", ["error", "skip", "pass"])
    def test_a_damaged_caption_shard_is_always_an_error(self, url, bucket, missing):
        key = "out/runs/r1/captions/set-000001.tar"
        bucket[key] = bucket[key][:1536]
        with pytest.raises(ShardError, match="cut off"):
            list(dataset(url).compose(join_captions(f"{url}/runs/r1/captions", missing=missing)))

    @pytest.mark.parametrize(
        "pipe", ["pipe:aws s3 cp s3://b/out/images/set-000001.tar -", "pipe:curl -s 'https://h/set-000001.tar?sig=x'"]
    )
    def test_the_shard_that_a_pipe_reads_is_known(self, pipe):
        assert shard_name(pipe) == "set-000001.tar"

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_worker_processes_read_too(self, url, record, method):
        """Whoever trains forks workers after the first samples were read, or starts them anew."""
        stage = join_captions(f"{url}/runs/r1/captions")
        assert len(list(dataset(url).compose(stage))) == 10
        with multiprocessing.get_context(method).Pool(2) as pool:
            shards = [f"{url}/images/set-{i:06d}.tar" for i in range(3)]
            loaded = pool.map(_load, [(pickle.dumps(stage), shard) for shard in shards])
        assert [len(each) for each in loaded] == [4, 4, 2]


def _load(work):
    stage, shard = work
    return [s["__key__"] for s in pickle.loads(stage)(iter([{"__url__": shard, "__key__": k} for k in _keys(shard)]))]


def _keys(shard):
    number = int(shard[-5])
    return [f"set-{i:06d}" for i in range(4 * number, min(10, 4 * number + 4))]


class TestOneTar:
    def test_the_scheme_gives_the_same_bytes_as_on_disk(self, url, local):
        for number in range(3):
            query = f"images/set-{number:06d}.tar?run=r1&form=one"
            with (
                scheme.open_url(f"captioner:{url}/{query}") as there,
                scheme.open_url(f"captioner:{local}/{query}") as here,
            ):
                assert there.read() == here.read()

    def test_unmodified_loaders_read_it(self, url, record):
        merged = f"captioner:{url}/images/set-{{000000..000002}}.tar?run=r1*3&run={url}/runs/r2/captions"
        samples = list(webdataset.WebDataset(merged, shardshuffle=3).decode("pil"))
        assert len(samples) == 10
        assert all(s["txt"] in record(s["__key__"])["captions"] for s in samples)

    def test_a_pipe_gives_it_too(self, url, local, record):
        command = [sys.executable, "-m", "captioner", "shards", "join", f"captioner:{url}/images/set-000000.tar?run=r1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                names = archive.getnames()
            process.stdout.read()
        assert process.returncode == 0
        assert len(names) == 8

    def test_a_shard_that_is_not_there_or_cut_off_is_an_error(self, url, bucket):
        with pytest.raises(ShardError, match=r"no image shard s3://.*: there is no such object"):
            scheme.open_url(f"captioner:{url}/images/set-000009.tar?run={url}/runs/r1/captions&missing=skip").read()
        content = bucket["out/images/set-000001.tar"]
        for end in (0, 100, 1024, len(content) - 10_240, len(content) - 512):
            bucket["out/images/set-000001.tar"] = content[:end]
            with pytest.raises(ShardError, match="cut off"):
                scheme.open_url(f"captioner:{url}/images/set-000001.tar?run=r1").read()

    def test_nothing_is_written_through_it(self, url):
        for name in (f"captioner:{url}/images/set-000000.tar?run=r1", f"{url}/images/set-000000.tar"):
            with pytest.raises(UsageError, match="can only be read"):
                gopen(name, "wb")

    def test_messages_hold_no_secrets(self):
        with pytest.raises(UsageError, match="no parameter 'sig'") as error:
            scheme.open_url("captioner:https://host/set-000000.tar?sig=SECRET")
        assert "SECRET" not in str(error.value)


class TestByKey:
    def test_samples_are_those_on_disk(self, url, local):
        with (
            Samples(f"{url}/images", f"{url}/runs/r2/captions") as there,
            Samples(local / "images", local / "runs/r2/captions") as here,
        ):
            assert there.keys() == here.keys()
            for i in (9, 0, 5, 4, 3, 8, 2):
                assert there[i] == here[i] == there[here.keys()[i]]
            assert list(pickle.loads(pickle.dumps(there))) == list(here)

    def test_a_sample_takes_one_request_of_its_size(self, url, bucket, monkeypatch):
        from captioner.storage import Remote

        with Samples(f"{url}/images") as samples:
            samples[3]
            sizes = []
            read = Remote.read_part
            monkeypatch.setattr(Remote, "read_part", lambda r, a, b: (sizes.append(b - a), read(r, a, b))[1])
            sample = samples[1]
            assert sizes == [512 + len(sample.image)]

    def test_captions_of_a_shard_are_loaded_by_url(self, url, local):
        name = "runs/r1/captions/set-000001.tar"
        assert load_captions(place(f"{url}/{name}")) == load_captions(local / name)

    def test_a_shard_that_is_not_as_its_manifest_says_is_an_error(self, url, bucket):
        bucket["out/images/set-000001.tar"] = bucket["out/images/set-000000.tar"]
        with Samples(f"{url}/images") as samples, pytest.raises(ShardError, match=r"set-000001\.tar"):
            samples["set-000007"]

    def test_what_is_no_image_set_is_refused(self, url):
        with pytest.raises(ShardError, match="no finished image shards"):
            Samples(f"{url}/runs")


class TestVerified:
    @pytest.fixture
    def captioner(self, monkeypatch, capsys):
        def call(*arguments):
            monkeypatch.setattr(sys, "argv", ["captioner", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
            printed = capsys.readouterr()
            return end.value.code or 0, printed.out, printed.err

        return call

    def test_whole_shards_are_whole(self, url, captioner):
        assert captioner("shards", "verify", url)[:2] == (0, "3 folders: all shards are whole\n")

    @pytest.mark.parametrize("folder", ["images", "runs/r1/captions"])
    def test_truncation_flipped_bits_and_missing_and_foreign_objects_are_found(self, url, bucket, folder):
        for key in [
            key for key in bucket if key.startswith(f"out/{folder}/") and not key.endswith(("parquet", "run.json"))
        ]:
            content = bucket[key]
            for damaged in (
                content[:-1],
                content[:20],
                content[: len(content) // 2] + b"\1" + content[len(content) // 2 + 1 :],
            ):
                bucket[key] = damaged
                assert verify(place(f"{url}/{folder}")), key
            del bucket[key]
            assert verify(place(f"{url}/{folder}")), key
            bucket[key] = content
        bucket[f"out/{folder}/set-000009.tar"] = b""
        assert [(p.file, p.code) for p in verify(place(f"{url}/{folder}"))] == [("set-000009.tar", "foreign")]

    def test_a_truncated_object_is_named(self, url, bucket, captioner):
        bucket["out/images/set-000001.tar"] = bucket["out/images/set-000001.tar"][:2048]
        code, _, err = captioner("shards", "verify", url)
        assert code == 1
        assert f"{url}/images/set-000001.tar: truncated: 2048 bytes instead of" in err

    def test_storage_that_is_away_is_no_damage(self, url, bucket, captioner):
        bucket.wire.cut_after(0)
        code, printed, err = captioner("shards", "verify", url)
        assert (code, printed) == (1, "")
        assert "error: cannot" in err

    def test_what_holds_no_shards_is_refused(self, bucket, captioner):
        code, _, err = captioner("shards", "verify", f"{bucket.url}/nothing")
        assert code == 2
        assert "holds no shards" in err


class TestPushedFromTheCommandLine:
    def test_it_says_what_was_put_and_what_was_left_out(self, local, bucket, monkeypatch, capsys):
        (local / "runs" / "begun").mkdir()
        for expected in ("19 objects put", "0 objects put (0.0 MB), 9 shards were there already"):
            monkeypatch.setattr(sys, "argv", ["captioner", "shards", "push", str(local), f"{bucket.url}/p"])
            with contextlib.suppress(SystemExit):
                main()
            printed = capsys.readouterr().out
            assert expected in printed
            assert "run begun was left out: the run is not finished" in printed

    def test_a_target_that_holds_a_secret_is_refused_without_showing_it(self, local, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["captioner", "shards", "push", str(local), "s3://key:SECRET@bucket/p"])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code == 2
        assert "SECRET" not in printed.out + printed.err


class TestOverHttp:
    @pytest.fixture
    def website(self, local):
        handler = partial(QuietHandler, directory=str(local))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()

    def test_a_server_that_gives_parts_serves_shards(self, website, local):
        query = "images/set-000001.tar?run=r1&form=one"
        with (
            scheme.open_url(f"captioner:{website}/{query}") as there,
            scheme.open_url(f"captioner:{local}/{query}") as here,
        ):
            assert there.read() == here.read()
        with Samples(f"{website}/images", f"{website}/runs/r1/captions") as there:
            assert there["set-000005"].captions
        assert verify(place(f"{website}/images")) == []
        samples = dataset(local).compose(join_captions(f"{website}/runs/r1/captions"))
        assert all(json.loads(s["captions.json"])["captions"] for s in samples)

    def test_a_server_that_gives_no_parts_is_named(self, website, monkeypatch):
        monkeypatch.setattr(QuietHandler, "parts", False)
        with pytest.raises(StorageError, match="gives no parts"):
            scheme.open_url(f"captioner:{website}/images/set-000001.tar?run=r1").read()


class QuietHandler(SimpleHTTPRequestHandler):
    """A static web server; as many do and Python's does not, it gives parts of files."""

    parts = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if not wanted or not self.parts or not path.is_file():
            return super().do_GET()
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        content = path.read_bytes()
        body = content[int(start) : int(end) + 1 if end else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{int(start) + len(body) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return self.wfile.write(body)


class TestAudited:
    """Runs, output folders and shards in object storage are audited as those on disk; tables are not read there."""

    @pytest.fixture
    def run(self, tmp_path, bucket):
        make_dataset(tmp_path / "data")
        settings = [f"data.root={tmp_path / 'data'}", f"out={tmp_path / 'out'}"]
        summary = running.execute(running.prepare(load_pipeline("demo", settings)))
        push(tmp_path / "out", f"{bucket.url}/out")
        return summary.run

    @pytest.mark.parametrize(
        "target", ["", "/runs/{run}", "/runs/{run}/captions", "/runs/{run}/captions/demo-000000.tar"]
    )
    def test_the_figures_are_those_on_disk(self, run, tmp_path, bucket, target):
        target = target.format(run=run)
        here = audit(f"{tmp_path}/out{target}", "demo").to_dict()
        there = audit(f"{bucket.url}/out{target}", "demo").to_dict()
        assert there["captions"] > 50
        for figure in ("captions", "agreement", "codes", "kind", "duplicates"):
            assert there.get(figure) == here.get(figure), figure

    def test_the_report_is_written_here(self, run, tmp_path, bucket, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["captioner", "audit", f"{bucket.url}/out", "--schema", "demo"])
        with contextlib.suppress(SystemExit):
            main()
        assert (tmp_path / "audit-out").is_dir()

    def test_tables_and_what_is_nothing_are_refused(self, bucket):
        bucket["t/captions.csv"] = b"labels,caption\n"
        for target in ("t", "t/captions.csv"):
            with pytest.raises(UsageError, match="tables are read from this machine"):
                audit(f"{bucket.url}/{target}", "demo")
        with pytest.raises(UsageError, match="no such file or folder"):
            audit(f"{bucket.url}/nothing", "demo")
