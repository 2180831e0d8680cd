"""Other libraries trained and measured side by side with this one: ``python -m benchmarks.peers``."""
