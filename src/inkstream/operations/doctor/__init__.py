"""The doctor finds out what proxies do to streams, and checks databases."""
