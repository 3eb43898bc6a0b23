"""Notifiers send hints to other processes when streams change. See ``abc.Notifier``."""
