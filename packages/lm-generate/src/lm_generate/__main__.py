"""`python -m lm_generate`: the command line without the console script."""

from lm_generate.cli import main

main()
