"""What the project measures of itself; each is a script: ``python -m benchmarks.NAME``."""
