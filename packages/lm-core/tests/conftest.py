"""One thread for arithmetic: tiny tensors gain nothing from more, and waiting threads make a busy machine crawl."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported
