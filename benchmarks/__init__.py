"""Benchmarks: Krater beside what it is made of (conmon + crun) and beside Docker, measured in the same run."""
