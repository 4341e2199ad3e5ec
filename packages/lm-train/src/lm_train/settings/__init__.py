"""The parts of a run's settings, each a frozen dataclass that checks itself. What is written under a field is its `--help` text."""
