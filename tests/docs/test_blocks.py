"""Tests the code blocks of README.md and docs/. ``blocks`` describes the kinds of blocks."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

import inkstream
from inkstream import PersistentTextStreaming, Timing
from inkstream.cli.commands import inkstream as command_line
from tests.docs.blocks import KINDS, ROOT, Block, all_blocks

BLOCKS = all_blocks()
TIMEOUT_S = 45.0

pytestmark = pytest.mark.timeout(60)  # many of these tests start an interpreter


def of(kind: str, *languages: str) -> pytest.MarkDecorator:
    """Return a decorator that gives a test each block of ``kind`` in one of ``languages``."""
    found = [b for b in BLOCKS if b.kind == kind and b.language in languages]
    return pytest.mark.parametrize("block", found, ids=str)


def run(arguments: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in ``directory``, without the environment variables of inkstream."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INKSTREAM_")}
    done = subprocess.run(
        arguments,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_every_block_has_a_tested_kind() -> None:
    by_themselves = ("python", "sh", "json", "")
    bad = [
        f"{block}: {block.kind or block.language}"
        for block in BLOCKS
        if block.kind not in KINDS or (not block.kind and block.language not in by_themselves)
    ]
    assert not bad, "these blocks need a comment (see tests/docs/blocks.py)"
    assert len(BLOCKS) > 20
    for block in BLOCKS:
        if block.kind == "shown":
            assert len(block.before) > 10, f"{block}: the comment must say why the block is not run"
        if block.kind == "checked":
            path = block.before.removeprefix("by ")
            assert str(block.page) in (ROOT / path).read_text(), f"{block}: not in {path}"


@of("", "python")
def test_a_python_block_is_a_program(block: Block, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(block.code)
    done = run([sys.executable, "-W", "error", "program.py"], tmp_path)
    following = BLOCKS[BLOCKS.index(block) + 1 :]
    if following and following[0].kind == "output":
        assert done.stdout == following[0].code


@of("pytest", "python")
def test_a_test_module_passes(block: Block, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(block.code)
    options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = run([sys.executable, "-m", "pytest", *options, "test_example.py"], tmp_path)
    assert " passed" in done.stdout


@of("body", "python")
def test_a_body_runs_with_its_comment(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    if "openai" in block.before + block.code:
        request.getfixturevalue("provider")
    names = {name: getattr(inkstream, name) for name in inkstream.__all__}
    names |= {"__name__": "__documentation__", "asyncio": asyncio}
    statements = "\n".join([block.before, block.code, block.after])
    code = compile(statements, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    timing = Timing(shutdown_grace_s=0)
    streams = PersistentTextStreaming(f"sqlite:///{tmp_path}/inkstream.db", timing=timing)

    async def main() -> None:
        async with streams, asyncio.timeout(15):
            done = eval(code, names | {"streams": streams})
            if inspect.isawaitable(done):
                await done

    asyncio.run(main())


@of("", "json")
def test_json_parses(block: Block) -> None:
    try:
        json.loads(block.code)
    except json.JSONDecodeError:
        for line in block.code.splitlines():
            json.loads(line)


@of("", "sh")
def test_a_shell_block_names_existing_commands(block: Block) -> None:
    checked = subprocess.run(
        ["sh", "-n"], input=block.code, text=True, capture_output=True, timeout=5, check=False
    )
    assert checked.returncode == 0, checked.stderr
    for line in re.sub(r"\\\n", " ", block.code).splitlines():
        tokens = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        for words in split_at_operators(tokens):
            check_command(words)


def split_at_operators(tokens: Sequence[str]) -> list[list[str]]:
    """Split a line at its operators into commands, and leave out assignments before a command."""
    commands: list[list[str]] = [[]]
    for token in tokens:
        if set(token) <= set("|&;()<>"):
            commands.append([])
        elif commands[-1] or not re.match(r"[A-Za-z_]\w*=", token):
            commands[-1].append(token)
    return [words for words in commands if words]


def check_command(words: list[str]) -> None:
    """Fail if a line uses a script, an extra or a command of inkstream that does not exist."""
    program, *arguments = words
    if program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK), program
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
        for word in arguments:
            for extra in re.findall(r"inkstream\[(.*?)\]", word):
                assert set(extra.split(",")) <= set(extras), word
    elif program == "inkstream":
        check_arguments(command_line, arguments)


def check_arguments(command: click.Command, arguments: list[str]) -> None:
    if isinstance(command, click.Group):
        name, *arguments = arguments
        chosen = command.commands.get(name)
        assert chosen is not None, f"there is no `inkstream {name}`"
        check_arguments(chosen, arguments)
        return
    try:
        command.make_context(command.name, list(arguments))
    except click.exceptions.Exit:
        pass  # the line asks for --help
    except click.BadParameter as exc:
        if not isinstance(
            exc.param.type if exc.param else None, click.Path
        ):  # an example may name an absent file
            raise
