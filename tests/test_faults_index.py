"""The index of faults claims no test that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_index_of_faults_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "tests/faults.md").read_text(encoding="utf-8")))
    sources = [*ROOT.glob("packages/*/tests/test_*.py"), *ROOT.glob("tests/test_*.py")]
    defined = {
        name for path in sources for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 60
    assert named - defined == set()


def test_every_fault_of_the_list_has_a_row_with_a_test():
    rows = re.findall(
        r"^\| ([CDMTG]\d+) \|.*`test_\w+`", (ROOT / "tests/faults.md").read_text(), re.MULTILINE
    )
    known = {"C": 18, "D": 10, "M": 5, "T": 12, "G": 10}
    assert {f"{kind}{n}" for kind, most in known.items() for n in range(1, most + 1)} - set(rows) == set()
