"""`python -m lm_train`: the same program as `train`."""

from lm_train.cli import main

if __name__ == "__main__":
    main()
