"""Notifiers send hints: another process has changed a stream. See ``abc.Notifier``."""
