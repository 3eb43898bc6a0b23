"""Notifiers tell a process that another process changed a stream. See ``abc.Notifier``."""
