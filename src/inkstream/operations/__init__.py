"""Answers for operators: the condition of a stream, and why the stream makes no progress."""
