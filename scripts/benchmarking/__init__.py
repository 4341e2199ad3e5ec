"""What `benchmarks.py` is made of: the record of a measurement, the machine it was taken on, and the documents made from it."""
