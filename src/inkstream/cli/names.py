"""The options `--owner` and `--group`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _check(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from inkstream._arguments import check_names, check_storable

    try:
        check_names(it=value)
        check_storable(it=value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    return value


def names_option(which: str) -> Callable[[F], F]:
    """Add the options `--owner` and `--group`.

    ``which`` is the help text of both options. In ``which``, ``{}`` stands for the word "owner" or
    "group".
    """

    def add(command: F) -> F:
        for name in "group", "owner":
            command = click.option(
                f"--{name}", metavar="NAME", callback=_check, help=which.format(name)
            )(command)
        return command

    return add
