"""What the type checker is told is what the compiled module has."""

import subprocess
import sys


def test_the_stub_of_the_rust_module_is_true():
    command = [sys.executable, "-m", "mypy.stubtest", "lm_tokenizer._rust"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_package_does_not_import_numpy():
    script = "import sys, lm_tokenizer; sys.exit('numpy' in sys.modules or 'regex' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
