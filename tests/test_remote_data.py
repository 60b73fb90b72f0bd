"""A dataset in object storage gives what the same dataset gives on disk."""

import io
import json
import sys

import pytest

from captioner import run as running
from captioner.cli import main
from captioner.demo import make_dataset
from captioner.errors import StorageError, TableError, UsageError
from captioner.images import ImageIndex
from captioner.layouts import walk
from captioner.pipeline import load_pipeline
from captioner.recaption import rewrite_captions
from captioner.shards import ImageItem, build_images, read_manifest
from captioner.storage import listed_once, place
from tests.shards.shard_helpers import contents, items_in


def upload(folder, bucket, prefix):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket[f"{prefix}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return f"{bucket.url}/{prefix}"


@pytest.fixture
def data(tmp_path):
    make_dataset(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def url(data, bucket):
    return upload(data, bucket, "data")


def run(root, out):
    return running.execute(running.prepare(load_pipeline("demo", [f"data.root={json.dumps(str(root))}", f"out={out}"])))


def test_a_run_gives_the_same_shards_captions_and_rejects(data, url, tmp_path):
    here, there = run(data, tmp_path / "here"), run(url, tmp_path / "there")
    assert there.images == here.images > 10
    for folder in ("images", f"runs/{here.run}/captions"):
        assert contents(tmp_path / "there" / folder) == contents(tmp_path / "here" / folder)
    for file in ("rejected_rows.csv", f"runs/{here.run}/support_sets.parquet"):
        assert (tmp_path / "there" / file).read_bytes() == (tmp_path / "here" / file).read_bytes()
    assert f"root: {url}" in (tmp_path / "there/runs" / here.run / "pipeline.yaml").read_text()


def test_a_dataset_is_listed_once(url, tmp_path, monkeypatch):
    import s3fs

    listed = []
    find = s3fs.S3FileSystem.find
    monkeypatch.setattr(s3fs.S3FileSystem, "find", lambda fs, path, **k: (listed.append(path), find(fs, path, **k))[1])
    run(url, tmp_path / "out")
    assert len(listed) == 1


def test_a_plan_and_captions_written_again_need_no_copy(data, url, tmp_path):
    spec = load_pipeline("demo", [f"data.root={url}", f"out={tmp_path / 'out'}"])
    local = load_pipeline("demo", [f"data.root={data}", f"out={tmp_path / 'other'}"])
    assert running.forecast(running.prepare(spec)) == running.forecast(running.prepare(local))
    name = run(url, tmp_path / "out").run
    before = contents(tmp_path / "out/runs" / name / "captions")
    rewrite_captions(tmp_path / "out/runs" / name)
    assert contents(tmp_path / "out/runs" / name / "captions") == before


def test_the_table_may_be_here_and_the_images_there(data, url, tmp_path):
    settings = [f"data.root={data}", f"data.images={url}", f"out={tmp_path / 'out'}"]
    assert running.execute(running.prepare(load_pipeline("demo", settings))).images


def test_files_come_in_the_same_order_and_hidden_ones_do_not_come(tmp_path, bucket):
    names = ["b.csv", "a/x.png", "a/b/y.png", "a.png", "a b/z.png", "a-b/w.png", ".hidden/v.png", "a/.u.png"]
    names += ["__MACOSX/a.png", "Z/1.png", "a/10.png", "a/9.png"]
    for name in names:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"x")
    remote = place(upload(tmp_path / "d", bucket, "d"))
    assert list(walk(remote)) == list(walk(tmp_path / "d"))
    assert sorted(ImageIndex(remote).files) == sorted(ImageIndex(tmp_path / "d").files)


class TestConfinement:
    @pytest.fixture
    def index(self, bucket):
        for key in ("data/in.png", "data/sub/deep.png", "secret.png", "data/../up.png", "data2/next.png"):
            bucket[key] = b"x"
        return ImageIndex(place(f"{bucket.url}/data"))

    @pytest.mark.parametrize(
        "reference", ["../secret.png", "sub/../../secret.png", "/secret.png", "s3://other/x.png", "https://h/x.png"]
    )
    def test_what_would_leave_the_prefix_is_refused(self, index, reference):
        assert index.resolve(reference).code == "bad_image_reference"

    @pytest.mark.parametrize("reference", ["secret.png", "up.png", "next.png", "data2/next.png", "%2e%2e/secret.png"])
    def test_what_lies_beside_the_prefix_is_not_found(self, index, reference):
        assert index.resolve(reference).code == "missing_image"

    def test_what_lies_below_is_found(self, index):
        assert index.resolve("in.png") == "in.png"
        assert index.resolve("deep") == "sub/deep.png"


class TestImages:
    def items(self, bucket, tmp_path, count):
        local = items_in(tmp_path / "images", count)
        url = place(upload(tmp_path / "images", bucket, "images"))
        return local, [ImageItem(item.key, url / item.source, item.source) for item in local]

    def test_shards_are_those_of_local_files(self, bucket, tmp_path):
        local, remote = self.items(bucket, tmp_path, 25)
        build_images(local, tmp_path / "here", dataset="set", per_shard=10)
        build_images(remote, tmp_path / "there", dataset="set", per_shard=10)
        assert contents(tmp_path / "here") == contents(tmp_path / "there")

    def test_bad_objects_are_reported_each_with_its_reason(self, bucket, tmp_path):
        _, items = self.items(bucket, tmp_path, 6)
        del bucket["images/image 1.png"]
        bucket["images/image 2.jpeg"] = b""
        bucket["images/image 3.png"] = b"<html>no</html>"
        bucket["images/image 5.png"] = bucket["images/image 5.png"][:40]
        report = build_images(items, tmp_path / "there", dataset="set")
        assert [(p.source, p.code) for p in report.problems] == [
            ("image 1.png", "missing_image"),
            ("image 2.jpeg", "corrupt_image"),
            ("image 3.png", "unsupported_type"),
            ("image 5.png", "corrupt_image"),
        ]
        assert report.images == 2

    def test_storage_that_goes_away_ends_the_build_and_it_goes_on_later(self, bucket, tmp_path):
        """What cannot be reached is no bad image: nothing may be left out because a wire was cut."""
        local, remote = self.items(bucket, tmp_path, 60)
        build_images(local, tmp_path / "here", dataset="set", per_shard=10)
        start = bucket.wire.sent
        build_images(remote, tmp_path / "all", dataset="set", per_shard=10)
        bucket.wire.cut_after((bucket.wire.sent - start) // 2)
        with pytest.raises(StorageError, match="cannot read s3://"):
            build_images(remote, tmp_path / "there", dataset="set", per_shard=10)
        bucket.wire.mend()
        assert build_images(remote, tmp_path / "there", dataset="set", per_shard=10).images == 60
        assert contents(tmp_path / "here") == contents(tmp_path / "there")

    def test_nothing_is_fetched_again(self, bucket, tmp_path):
        _, remote = self.items(bucket, tmp_path, 6)
        build_images(remote, tmp_path / "there", dataset="set")
        sent = bucket.wire.sent
        assert build_images(remote, tmp_path / "there", dataset="set").written == 0
        assert bucket.wire.sent == sent


class TestCommandLine:
    @pytest.fixture
    def captioner(self, monkeypatch, capsys, tmp_path):
        monkeypatch.chdir(tmp_path)

        def call(*arguments):
            monkeypatch.setattr(sys, "argv", ["captioner", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
            printed = capsys.readouterr()
            return end.value.code or 0, printed.out, printed.err

        return call

    def test_data_may_be_a_url(self, captioner, url, tmp_path):
        captioner("shards", "build", "demo", "--data", url, "--out", "out")
        assert read_manifest(tmp_path / "out/images").samples > 10
        assert captioner("run", "demo", "--data", url, "--out", "out")[0] == 0
        (folder,) = (tmp_path / "out/runs").iterdir()
        assert captioner("shards", "captions", folder, "--data", url)[0] == 0

    @pytest.mark.parametrize("command", [("run", "demo"), ("plan", "demo"), ("shards", "build", "demo")])
    def test_output_goes_to_this_machine_first(self, captioner, tmp_path, data, command):
        code, _, err = captioner(*command, "--data", data, "--out", "s3://bucket/out")
        assert code == 2
        assert "captioner shards push OUT s3://bucket/out" in err
        assert not list(tmp_path.glob("s3:*"))

    def test_a_url_in_a_pipeline_that_cannot_be_output_is_refused(self):
        with pytest.raises(UsageError, match="shards push"):
            load_pipeline({"schema": "demo", "out": "s3://bucket/out"})

    def test_what_is_not_there_is_named(self, captioner, bucket):
        code, _, err = captioner("run", "demo", "--data", f"{bucket.url}/nothing", "--out", "out")
        assert code == 2
        assert f"{bucket.url}/nothing: no such file or folder" in err
        code, _, err = captioner("run", "demo", "--data", "s3://no-such-bucket/x", "--out", "out")
        assert code == 2
        assert "s3://no-such-bucket/x" in err

    @pytest.mark.parametrize("root", ["s3://KEY:SECRET@bucket/data", "https://me:SECRET@host/data"])
    def test_a_key_in_a_url_is_refused_and_not_shown(self, captioner, root):
        for arguments in (("--data", root), ("--set", f"data.root={root}"), ("--set", f"data.images={root}")):
            code, out, err = captioner("run", "demo", *arguments, "--out", "out")
            assert code == 2
            assert "environment" in err
            assert "SECRET" not in out + err


def test_listings_are_remembered_only_where_that_was_asked_for(bucket):
    folder = place(f"{bucket.url}/d")
    bucket["d/a"] = b"x"
    with listed_once():
        assert list(folder.files()) == ["a"]
        bucket["d/b"] = b"x"
        assert list(folder.files()) == ["a"]
    assert list(folder.files()) == ["a", "b"]


def test_a_compressed_table_and_a_workbook_are_read(bucket, tmp_path):
    import gzip

    import openpyxl

    from captioner.sheets import Sheet

    book = openpyxl.Workbook()
    book.active.append(["image", "label"])
    book.active.append(["a.png", "x"])
    buffer = io.BytesIO()
    book.save(buffer)
    bucket["t/t.xlsx"] = buffer.getvalue()
    bucket["t/t.csv.gz"] = gzip.compress(b"image,label\na.png,x\n")
    for name in ("t.xlsx", "t.csv.gz"):
        assert Sheet(place(f"{bucket.url}/t/{name}")).names == ("image", "label")
    with pytest.raises(TableError, match=r"s3://.*/no\.csv: cannot be read: there is no such object"):
        Sheet(place(f"{bucket.url}/t/no.csv"))
