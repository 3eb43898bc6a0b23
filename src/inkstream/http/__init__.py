"""HTTP over raw ASGI: following streams, the ready-made routes, and the open protocol."""
