"""Notifiers: how one process learns at once that another changed a stream. See ``abc.Notifier``."""
