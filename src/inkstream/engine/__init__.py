"""The engine: group commit, live tails, writers, readers and leases. It knows no HTTP and no SQL."""
