"""The engine: group commit, live tails, writers, readers and leases. No HTTP, no SQL."""
