"""The commands of `inkstream`, one to three in each module.

Besides the standard library, these modules import at the top only click and modules of inkstream
that need no extra. Functions import everything else, so that `inkstream --help` is quick, and a
missing extra stops only the commands that need the extra.
"""

from __future__ import annotations

import click

from inkstream.cli import demo, doctor, ending, follow, listing, schema, serve, show, write
from inkstream.cli.exits import EPILOG

__all__ = ["inkstream"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(package_name="inkstream")
def inkstream() -> None:
    """Stream text to the browser while it is saved.

    Commands that touch streams take --database, or INKSTREAM_DATABASE from the environment.
    """


for command in (
    demo.command,
    serve.command,
    write.command,
    follow.follow,
    follow.cat,
    listing.command,
    show.command,
    doctor.command,
    ending.cancel,
    ending.rm,
    schema.migrate,
    schema.verify,
    schema.sql,
):
    inkstream.add_command(command)
