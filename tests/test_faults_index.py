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
