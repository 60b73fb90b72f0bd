"""How far captions agree with labels: anybody's, in any of the usual forms.

::

    from captioner.audit import audit

    found = audit("out/chestxray14", "chestxray14")
    found.agreement.share      # 0.993
    found.by_class             # a DataFrame with 95 % intervals; found itself shows well in a notebook
"""

from captioner.audit.compare import Comparison, compare
from captioner.audit.engine import audit
from captioner.audit.noise import TableDiff, diff_readers, diff_tables
from captioner.audit.result import Audit
from captioner.audit.review import Review, read_review, write_corrections, write_sample, write_synonyms
from captioner.audit.rows import Bad, Columns, Row
from captioner.audit.statistics import Rate

__all__ = [
    "Audit",
    "Bad",
    "Columns",
    "Comparison",
    "Rate",
    "Review",
    "Row",
    "TableDiff",
    "audit",
    "compare",
    "diff_readers",
    "diff_tables",
    "read_review",
    "write_corrections",
    "write_sample",
    "write_synonyms",
]
