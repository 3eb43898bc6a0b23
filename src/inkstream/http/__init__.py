"""HTTP over raw ASGI: the responses that follow streams, and the ready-made routes."""
