"""The databases that streams are kept in: one module each, all of them an ``abc.Store``."""
