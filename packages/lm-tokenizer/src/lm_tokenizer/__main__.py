"""`python -m lm_tokenizer`: the same program as `lm-tokenizer`."""

import sys

from lm_tokenizer.cli import main

if __name__ == "__main__":
    sys.exit(main())
