"""Answers for operators: the state of a stream, and the reasons for this state."""
