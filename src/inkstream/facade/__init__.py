"""The library's public interface: ``PersistentTextStreaming`` and the objects it returns."""
