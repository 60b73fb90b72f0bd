"""From label tables to checked, multi-caption WebDataset shards, with any LLM."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captioner.agreement import Issue, Verdict, check_caption
    from captioner.schema import LabelSchema, load_schema

__all__ = ["Issue", "LabelSchema", "Verdict", "check_caption", "load_schema"]


def __getattr__(name: str) -> object:
    """Import public names when they are asked for: the command line starts without them."""
    from importlib import import_module

    if name in {"Issue", "Verdict", "check_caption"}:
        return getattr(import_module("captioner.agreement"), name)
    if name in {"LabelSchema", "load_schema"}:
        return getattr(import_module("captioner.schema"), name)
    raise AttributeError(f"module 'captioner' has no attribute {name!r}")
