"""The arrow: data flows one way, and so do imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "captioner"
TABLE = re.findall(r"^\| `([a-z_/.]+)` \|", (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE)
STAGES = [name.removesuffix(".py").rstrip("/") for name in TABLE]
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "data" not in p.relative_to(PACKAGE).parts)


def stage_of(module: str) -> str:
    return module.removeprefix("captioner").lstrip(".").split(".")[0]


def imports_of(path: Path) -> set[str]:
    """Stages that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "captioner":
            found |= {f"captioner.{a.name}" for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {stage_of(m) for m in found if m.startswith("captioner.")}


def test_every_module_stands_in_the_table_of_the_architecture_page():
    files = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in MODULES} - {"__init__", "__main__"}
    assert files == set(STAGES)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_those_above_it(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in {"__init__", "__main__"}:
        pytest.skip("the package's front door")
    allowed = {*STAGES[: STAGES.index(own) + 1]}
    assert imports_of(path) <= allowed


def test_the_agreement_check_does_no_io_and_knows_only_schemas():
    for path in (PACKAGE / "agreement").glob("*.py"):
        assert imports_of(path) <= {"agreement", "schema", "errors"}, path
        assert not re.search(r"\bopen\(|\.read_text|\.read_bytes|\bprint\(", path.read_text(encoding="utf-8")), path


def test_only_the_command_line_prints():
    for path in MODULES:
        if path.parent.name != "cli":
            assert not re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_the_command_line_starts_without_the_heavy_libraries():
    heavy = ["pandas", "pyarrow", "openai", "webdataset", "torch", "vllm", "PIL"]
    code = f"import sys, captioner.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
