"""What an application talks to: ``PersistentTextStreaming`` and what it hands out."""
