"""The engine commits for all writers, keeps the tails, and serves readers. It has no HTTP or SQL."""
