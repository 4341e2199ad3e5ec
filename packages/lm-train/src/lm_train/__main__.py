"""Where the program begins: `train`, `lm-train` and `python -m lm_train`. Ctrl-C has no traceback from the first moment on."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the program (cli.py) and exit with its code."""
    try:
        from lm_train.cli import main as program
    except KeyboardInterrupt:  # before the program handles signals itself
        print("\nstopped by SIGINT; nothing was begun", file=sys.stderr)
        sys.exit(75)
    program()


if __name__ == "__main__":
    main()
