"""A page for operators that lists streams, describes each stream, and can stop streams."""
