"""Does a caption agree with its image's labels? Pure functions: no files, no network, no model.

::

    from captioner.agreement import check_caption

    verdict = check_caption("Chest X-ray without pleural effusion.", ["Effusion"], "chestxray14")
    verdict.agrees          # False
    verdict.issues[0].code  # 'negated_label'
"""

from captioner.agreement.check import Checker, check_caption
from captioner.agreement.issues import CODES, Issue, Verdict
from captioner.agreement.lint import LintProblem, lint
from captioner.agreement.triggers import KINDS as DETAILS
from captioner.agreement.wordings import accepted

__all__ = [
    "CODES",
    "DETAILS",
    "Checker",
    "Issue",
    "LintProblem",
    "Verdict",
    "accepted_wordings",
    "check_caption",
    "lint",
]

from captioner.schema import LabelSchema, load_schema


def accepted_wordings(schema: LabelSchema | str, code: str) -> tuple[str, ...]:
    """Return the wordings that would pass for a label, best first.

    Args:
        schema: a schema, or the name or path of one.
        code: code, name or alias of a class.

    Raises:
        SchemaError: no class has this label.
    """
    if isinstance(schema, str):
        schema = load_schema(schema)
    return accepted(schema, schema.resolve(code).code)
