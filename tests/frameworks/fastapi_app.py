"""The FastAPI example as ``serving`` wants it; ``PYTHONPATH`` has the folder of the examples."""

from __future__ import annotations

import importlib
import os
from typing import Any

example: Any = importlib.import_module("fastapi_chat")
app = example.app


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())
