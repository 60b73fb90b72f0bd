"""A Croissant description of image shards and captions: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html."""

import json
import os
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.shards.manifest import Manifest, file_hash, read_manifest

_OURS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format includes "
    "isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{name: f"cr:{name}" for name in _OURS.split()},
}
_TABLE, _FILES, _SAMPLES = "captions-table", "image-files", "samples"


def export_croissant(
    images: Path, table: Path, target: Path, *, license_url: str, url: str, description: str | None = None
) -> None:
    """Write a Croissant file with one record an image: key, image, captions, labels.

    ``mlcroissant`` unpacks the shards to read them, into a cache that goes by their names alone: clear
    ``~/.cache/croissant`` when shards of the same names have other contents.

    Args:
        images: the folder of image shards.
        table: what :func:`captioner.shards.export_parquet` wrote for them.
        target: the file, usually ``croissant.json``; paths in it are relative to its folder.
        license_url: the licence of the images.
        url: where the data set is described.
        description: one sentence; by default a plain one.

    Raises:
        ShardError: there are no finished image shards.
        StorageError: the disk is full or cannot be written.
    """
    manifest = read_manifest(images)
    text = (
        description
        or f"{manifest.samples:,} medical images of {manifest.dataset} with captions made from their labels."
    )
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest.dataset,
        "description": text,
        "license": license_url,
        "url": url,
        "version": "1.0.0",
        "distribution": _distribution(manifest, images, table, target.parent),
        "recordSet": [_records()],
    }
    atomic.write(target, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def _distribution(manifest: Manifest, images: Path, table: Path, base: Path) -> list[dict[str, Any]]:
    def file(name: str, path: Path, form: str, sha256: str) -> dict[str, Any]:
        place = Path(os.path.relpath(path, base)).as_posix()
        kind = {"@type": "cr:FileObject", "@id": name, "name": name}
        return kind | {"contentUrl": place, "encodingFormat": form, "sha256": sha256}

    shards = [file(s.name, images / s.name, "application/x-tar", s.sha256) for s in manifest.shards]
    members = {
        "@type": "cr:FileSet",
        "@id": _FILES,
        "name": _FILES,
        "containedIn": [{"@id": shard.name} for shard in manifest.shards],
        "encodingFormat": ["image/jpeg", "image/png"],
        "includes": ["*.jpg", "*.png"],
    }
    return [file(_TABLE, table, "application/x-parquet", file_hash(table)), *shards, members]


def _records() -> dict[str, Any]:
    def column(name: str) -> dict[str, Any]:
        return {"fileObject": {"@id": _TABLE}, "extract": {"column": name}}

    def member(what: str) -> dict[str, Any]:
        return {"fileSet": {"@id": _FILES}, "extract": {"fileProperty": what}}

    def field(name: str, kind: str, source: dict[str, Any], **more: object) -> dict[str, Any]:
        known = {"@type": "cr:Field", "@id": f"{_SAMPLES}/{name}", "name": name, "dataType": kind}
        return known | {"source": source} | more

    without_type = {"transform": {"regex": r"^(.*)\.(?:jpg|png)$"}}
    return {
        "@type": "cr:RecordSet",
        "@id": _SAMPLES,
        "name": _SAMPLES,
        "key": {"@id": f"{_SAMPLES}/key"},
        "field": [
            field("key", "sc:Text", member("filename") | without_type, references=column("key")),
            field("image", "sc:ImageObject", member("content")),
            field("captions", "sc:Text", column("captions"), repeated=True),
            field("labels", "sc:Text", column("labels"), repeated=True),
        ],
    }
