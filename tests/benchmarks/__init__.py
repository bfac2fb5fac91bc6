"""The protocols of benchmarks/: what they score, and their commands on tiny models."""
