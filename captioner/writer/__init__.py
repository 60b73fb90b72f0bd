"""The built-in writer: correct captions for any label information of any schema, without a language model.

It says what the labels say and nothing more. Its English is in :mod:`~captioner.writer.grammar`, its sentences in
:mod:`~captioner.writer.frames`, and what it may call things in :mod:`~captioner.writer.wordings`.
"""

from collections.abc import Collection

from captioner.schema import LabelSchema, Library, load_library
from captioner.triplets import Triplet
from captioner.writer.compose import VERSION, Writer

__all__ = ["VERSION", "Writer", "write_captions"]


def write_captions(
    schema: LabelSchema,
    triplet: Triplet,
    count: int,
    *,
    seed: int = 0,
    avoid: Collection[str] = (),
    library: Library | None = None,
) -> list[str]:
    """Return captions for label information: distinct, correct, and the same on every machine.

    Args:
        schema: the dataset's schema.
        triplet: what the captions are about.
        count: how many.
        seed: another seed, another selection.
        avoid: captions that exist already; none of them, or nearly so, is written again.
        library: concepts, modalities and anatomies; the ones that ship if left out.

    Returns:
        ``count`` captions; fewer only where the language runs out.
    """
    return Writer(schema, library or load_library()).write(triplet, count, seed=seed, avoid=avoid)
