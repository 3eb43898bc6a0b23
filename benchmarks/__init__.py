"""Measurements of inkstream's cost: ``python -m benchmarks NAME``; see docs/benchmarks.md."""
