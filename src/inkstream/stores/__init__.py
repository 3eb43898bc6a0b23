"""``memory``, ``sqlite`` and ``postgres`` each have a class that implements ``abc.Store``."""
