"""Answers for operators: a stream's condition, and why it makes no progress."""
