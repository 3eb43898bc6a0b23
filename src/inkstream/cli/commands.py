"""The commands of `inkstream`, one function each.

A command imports what it needs inside its function: `inkstream --help` stays quick, and a missing
extra stops only the command that needs it.
"""

from __future__ import annotations

import click

__all__ = ["inkstream"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inkstream")
def inkstream() -> None:
    """Stream text to the browser while it is saved."""
