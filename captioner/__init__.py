"""From label tables to checked, multi-caption WebDataset shards, with any LLM."""

TYPE_CHECKING = False
"""As of typing, which takes long enough to be loaded for a Ctrl-C to come before anybody can hear it."""

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
