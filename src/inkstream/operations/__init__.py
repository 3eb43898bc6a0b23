"""Answers for operators: the state of a stream, and why the stream makes no progress."""
