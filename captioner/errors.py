"""Everything that a user can put right, as an exception that says what, where and what to do.

::

    CaptionerError                exit code 1
    ├── UsageError                exit code 2: the call, a file or a setting is wrong
    │   ├── SchemaError           a label schema or concept file
    │   ├── TableError            a label table
    │   ├── PromptError           a prompt template
    │   ├── PipelineError         a pipeline file or a --set
    │   ├── OutputError           an output folder of something else, or one in use
    │   └── ShardError            a shard or manifest that is damaged, missing or of another image set
    ├── EngineError               an endpoint that cannot be used: unreachable, wrong key, unknown model
    └── StorageError              a disk that is full or cannot be written; storage that refuses or does not answer
"""

import difflib
from collections.abc import Iterable


class CaptionerError(Exception):
    """Base of all errors meant for users; the command line prints the message and nothing else."""

    exit_code = 1


class UsageError(CaptionerError):
    """The call, a file that was handed over, or a setting is wrong."""

    exit_code = 2


class SchemaError(UsageError):
    """A label schema or a concept file is not valid."""


class TableError(UsageError):
    """A label table cannot be read as its schema says."""


class PromptError(UsageError):
    """A prompt template is not valid or uses an unknown name."""


class PipelineError(UsageError):
    """A pipeline file or an override is not valid."""


class OutputError(UsageError):
    """The output folder belongs to something else, or is in use."""


class ShardError(UsageError):
    """A shard or a manifest is damaged, missing, or does not belong to the others."""


class EngineError(CaptionerError):
    """The endpoint or model cannot be used at all; a single failed request is not an error but an answer."""


class StorageError(CaptionerError):
    """The disk is full or cannot be written, or storage behind a URL refuses or does not answer."""


def did_you_mean(word: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known words, or an empty string."""
    folded = {k.casefold(): k for k in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=limit, cutoff=0.6)
    if not near:
        return ""
    return " Did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
