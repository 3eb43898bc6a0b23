"""The surface of the library: ``PersistentTextStreaming`` and the objects that it hands out."""
