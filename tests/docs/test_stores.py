"""docs/stores.md names each public member of ``Store``, in the same order."""

from __future__ import annotations

import re

from inkstream.abc import Store
from tests.docs.blocks import ROOT


def test_the_page_names_the_methods_of_a_store() -> None:
    page = (ROOT / "docs/stores.md").read_text()
    sentence = page.partition("[`inkstream.abc`](../src/inkstream/abc.py): ")[2].partition(".")[0]
    members = [name for name in vars(Store) if not name.startswith("_")]
    assert re.findall(r"`(\w+)`", sentence) == members
