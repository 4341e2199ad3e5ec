"""Every error that lm-train raises on purpose: one type a cause, one plain message each.

A message says what was wanted, what came and what to do. The command line prints it without a traceback and exits with 2.
"""

from __future__ import annotations


class LmTrainError(Exception):
    """The base of all errors of this package."""


class ConfigError(LmTrainError, ValueError):
    """A setting that cannot be used: unknown, of the wrong type, out of range, or at odds with another one."""


class DataError(LmTrainError, ValueError):
    """The base of the errors about text and tokens."""


class SourceError(DataError):
    """A text that cannot be read: missing, empty, binary, not UTF-8, or not what its name says. Names file and offset."""


class DownloadError(SourceError):
    """A named text that could not be fetched, or that came with other bytes than it should have."""


class DatasetError(DataError):
    """A token dataset that cannot be trusted: damaged, unfinished, foreign, or made from something else."""


class OtherDatasetError(DatasetError):
    """The folder holds a dataset of another text, or one prepared with other settings."""


class TooFewTokensError(DataError):
    """Fewer tokens than one window needs."""


class BusyFolderError(LmTrainError):
    """Another living process writes the same folder; names it."""


class ClusterError(LmTrainError):
    """A cluster that was given work could not do it."""
