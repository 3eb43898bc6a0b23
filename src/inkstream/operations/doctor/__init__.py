"""The doctor: what proxies do to streams, and the condition of the database."""
