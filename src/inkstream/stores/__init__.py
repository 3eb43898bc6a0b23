"""The stores: one module for each database, each with an ``abc.Store``."""
