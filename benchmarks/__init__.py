"""What inkstream costs, measured: ``python -m benchmarks NAME``; docs/benchmarks.md explains."""
