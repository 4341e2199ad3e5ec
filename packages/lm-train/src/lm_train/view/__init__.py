"""What a run shows: the live view, the metrics file, the report, and the closing lines."""
