"""The stores: for each database, one module or package with a class for ``abc.Store``."""
