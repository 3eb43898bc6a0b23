"""The engine commits for all writers, keeps tails, and serves readers. It has no HTTP or SQL."""
