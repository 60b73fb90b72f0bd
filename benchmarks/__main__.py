"""Run every benchmark, one after another: ``python -m benchmarks [NAME …]``, or ``make bench``."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    known = sorted(p.stem for p in HERE.glob("[a-z]*.py"))
    names = sys.argv[1:] or known
    unknown = [n for n in names if n not in known]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(known)}")
        return 2
    failed = 0
    for name in names:
        print(f"\n== {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
