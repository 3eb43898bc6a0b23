"""Serve an example, and pages that use packages of other projects, from the same address.

python with_pages.py SERVER_PY PORT FOLDER
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import uvicorn
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

if __name__ == "__main__":
    server, port, folder = sys.argv[1:]
    sys.path.insert(0, str(Path(server).parent))
    app = runpy.run_path(server)["app"]
    app.router.routes.insert(0, Mount("/pages", StaticFiles(directory=folder, html=True)))
    uvicorn.run(app, port=int(port), log_level="warning", timeout_graceful_shutdown=5)
