"""Wordings that would pass for a label, for prompts and fixes."""

from captioner.schema import LabelSchema


def accepted(schema: LabelSchema, code: str) -> tuple[str, ...]:
    """Return what a caption may say for a class, best first; ' ... ' stands for a few words in between.

    Raises:
        KeyError: no class has this code.
    """
    item = schema[code]
    plain = [w for w in item.synonyms if " ... " not in w]
    gapped = [w for w in item.synonyms if " ... " in w]
    structures = [f"{s} abnormality" for s in item.structure]
    return tuple(dict.fromkeys((item.name, *plain, *structures, *item.abbreviations, *gapped)))
