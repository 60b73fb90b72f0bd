"""Image shards written once, caption shards beside them: WebDataset tars with the same keys in the same order.

Names are imported when they are first used: reading captions in a training process takes neither pyarrow nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.shards.captions import CaptionReport, build_captions
    from captioner.shards.images import ImageReport, build_images
    from captioner.shards.items import ImageItem, ImageProblem
    from captioner.shards.join import join_captions
    from captioner.shards.manifest import Image, Manifest, Shard, read_manifest
    from captioner.shards.members import load_captions
    from captioner.shards.verification import Problem, verify

__all__ = [
    "CaptionReport",
    "Image",
    "ImageItem",
    "ImageProblem",
    "ImageReport",
    "Manifest",
    "Problem",
    "Shard",
    "build_captions",
    "build_images",
    "join_captions",
    "load_captions",
    "read_manifest",
    "verify",
]

_HOME = {
    **dict.fromkeys(("CaptionReport", "build_captions"), "captions"),
    **dict.fromkeys(("ImageReport", "build_images"), "images"),
    **dict.fromkeys(("ImageItem", "ImageProblem"), "items"),
    **dict.fromkeys(("Image", "Manifest", "Shard", "read_manifest"), "manifest"),
    **dict.fromkeys(("Problem", "verify"), "verification"),
    "join_captions": "join",
    "load_captions": "members",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
