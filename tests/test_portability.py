"""What POSIX has and other systems lack is not needed: without it every module imports, every command answers, a model learns and writes."""

import os
import subprocess
import sys

# The libraries that we stand on are imported with all that the system has; then it is taken away, and our own modules are read anew.
WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys, types
PACKAGES = ("lm_tokenizer", "lm_core", "lm_train", "lm_generate")

def import_all():
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            if not found.name.endswith("__main__"):
                try:
                    importlib.import_module(found.name)
                except ModuleNotFoundError as error:
                    assert error.name.split(".")[0] not in (*PACKAGES, *MODULES), found.name

MODULES = ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog")
SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGALRM", "SIGKILL", "SIGCHLD", "SIGPIPE", "SIGQUIT", "SIGTSTP", "setitimer")
FUNCTIONS = ("fork", "getuid", "geteuid", "getpgid", "killpg", "setsid", "nice", "sync", "pread", "preadv", "pwrite", "sysconf", "uname",
             "getloadavg", "sched_getaffinity", "posix_fadvise", "mkfifo", "chown", "register_at_fork", "O_CLOEXEC", "O_DIRECTORY")
import_all()
import torch.distributed.checkpoint, matplotlib.pyplot, rich.console, rich.live, rich.text, rich.traceback, uuid, getpass, multiprocessing, concurrent.futures
for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES and not name.endswith("_rust")]:
    del sys.modules[name]
for name in MODULES:
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda descriptor, mode, count: None)
for name in SIGNALS:
    vars(signal).pop(name, None)
for name in FUNCTIONS:
    vars(os).pop(name, None)
sys.platform = "win32"
import_all()

from lm_generate import cli as generate, load
from lm_tokenizer import cli as tokenizer
from lm_train import cli as train

assert train.run(["--help"]) == 0 and generate.run(["--help"]) == 0
assert train.run("--data stories:20kb --vocab-size 300 --steps 2 --name tiny --model.context 16 --model.d-model 16 --model.n-layers 1 "
                 "--model.n-heads 2 --model.d-ff 32 --samples.tokens 4 --threads 1".split()) == 0
assert train.run(["verify", "runs/tiny"]) == 0
assert generate.run("--prompt a --max-tokens 3 --threads 1 --seed 1".split()) == 0
assert tokenizer.main(["show", "--info", "-t", "datasets/stories-20kb-300/tokenizer.json"]) == 0
"""


def test_without_posix_everything_imports_and_a_model_learns_and_writes(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
