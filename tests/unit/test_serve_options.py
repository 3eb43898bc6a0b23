"""`inkstream serve` refuses to start with wrong or unsafe options, and tokens give rights."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from inkstream.cli.commands import inkstream
from inkstream.cli.tokens import Tokens

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "who may use this server"),
        (["--allow-anonymous", "--host", "0.0.0.0"], "--force"),
        (["--allow-anonymous", "--host", "example.org"], "--force"),
        (["--allow-anonymous", "--workers", "2"], "one process"),
        (["--allow-anonymous", "--token-file", "good"], "exclude"),
        (["--token-file", "bad"], "line 1"),
        (["--token-file", "empty"], "no token"),
    ],
)
def test_serve_refuses_to_start_without_access_control(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INKSTREAM_TOKENS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").write_text(f"{TOKEN} read\n")
    (tmp_path / "bad").write_text(f"{TOKEN} everything\n")
    (tmp_path / "empty").write_text("# nobody\n\n")
    result = CliRunner().invoke(inkstream, ["serve", "--database", "memory://", *arguments])
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    "line", ["short read", TOKEN, f"{TOKEN} read,fly", f"{TOKEN} read a b", f"{TOKEN} ,"]
)
def test_invalid_token_file_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 2") as caught:
        Tokens.parse(f"# tokens\n{line}\n")
    assert TOKEN not in str(caught.value)


def test_rights_add_up_and_end_at_their_prefix() -> None:
    tokens = Tokens.parse(f"{TOKEN} read\n{TOKEN} write,delete chats/\n")
    rights = tokens.rights(f"bearer {TOKEN}")
    assert rights is not None

    def may(action: str, stream_id: str) -> bool:
        return any(right.allow(stream_id, action) for right in rights)

    assert may("read", "other")
    assert not may("append", "other")
    assert all(may(action, "chats/1") for action in ("create", "append", "close", "delete"))
    for stranger in (None, "", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \udcff"):
        assert tokens.rights(stranger) is None
