"""Image shards written once, caption shards beside them: WebDataset tars with the same keys in the same order.

Names are imported when they are first used: reading captions in a training process takes neither pyarrow nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.shards.captions import CaptionReport, build_captions
    from captioner.shards.convert import Conversion
    from captioner.shards.croissant import export_croissant
    from captioner.shards.export import export_csv, export_llava, export_parquet
    from captioner.shards.export_shards import export_tars, export_unimed
    from captioner.shards.images import ImageReport, build_images
    from captioner.shards.items import ImageItem, ImageProblem
    from captioner.shards.join import join_captions
    from captioner.shards.manifest import Image, Manifest, Shard, read_manifest
    from captioner.shards.members import load_captions
    from captioner.shards.metadata import export_card, export_wids
    from captioner.shards.reader import Sample, Samples
    from captioner.shards.rows import ExportReport
    from captioner.shards.verification import Problem, verify

__all__ = [
    "CaptionReport",
    "Conversion",
    "ExportReport",
    "Image",
    "ImageItem",
    "ImageProblem",
    "ImageReport",
    "Manifest",
    "Problem",
    "Sample",
    "Samples",
    "Shard",
    "build_captions",
    "build_images",
    "export_card",
    "export_croissant",
    "export_csv",
    "export_llava",
    "export_parquet",
    "export_tars",
    "export_unimed",
    "export_wids",
    "join_captions",
    "load_captions",
    "read_manifest",
    "verify",
]

_HOME = {
    "CaptionReport": "captions",
    "Conversion": "convert",
    "ExportReport": "rows",
    "Image": "manifest",
    "ImageItem": "items",
    "ImageProblem": "items",
    "ImageReport": "images",
    "Manifest": "manifest",
    "Problem": "verification",
    "Sample": "reader",
    "Samples": "reader",
    "Shard": "manifest",
    "build_captions": "captions",
    "build_images": "images",
    "export_card": "metadata",
    "export_croissant": "croissant",
    "export_csv": "export",
    "export_llava": "export",
    "export_parquet": "export",
    "export_tars": "export_shards",
    "export_unimed": "export_shards",
    "export_wids": "metadata",
    "join_captions": "join",
    "load_captions": "members",
    "read_manifest": "manifest",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
