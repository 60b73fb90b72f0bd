"""Image shards written once, caption shards beside them: WebDataset tars with the same keys in the same order."""

from captioner.shards.captions import CaptionReport, build_captions, load_captions
from captioner.shards.images import ImageReport, build_images
from captioner.shards.items import ImageItem, ImageProblem
from captioner.shards.join import join_captions
from captioner.shards.manifest import Image, Manifest, Shard, read_manifest
from captioner.shards.verify import Problem, verify

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
