from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inkstream import Result, StreamError
from inkstream.demo.choice import choose_responder
from inkstream.demo.provider import ProviderResponder
from inkstream.demo.responder import ChatMessage
from tests.http.demo_server import Visitor, demo_server
from tests.http.provider import DONE, FINISH, KEY, USAGE, Provider, delta, playing_provider
from tests.http.sse import Heard


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with playing_provider() as played:
        played.go_on.set()
        yield played


async def answer_of(provider: Provider) -> tuple[str, Any]:
    responder = ProviderResponder(KEY, base_url=provider.url, model="small")
    text, result = "", None
    async for piece in responder.answer([ChatMessage("user", "Hello?")]):
        if isinstance(piece, Result):
            result = piece.value
        else:
            text += piece
    return text, result


async def test_answer_is_streamed_with_its_usage(provider: Provider) -> None:
    provider.chunks = [delta("Hel"), delta(None), delta("lo"), FINISH, USAGE, DONE]
    text, result = await answer_of(provider)
    assert text == "Hello"
    usage = {"total_tokens": 7}
    assert (result["finish_reason"], result["usage"]) == ("stop", usage)
    [(head, body)] = provider.requests
    assert head.startswith(b"POST /v1/chat/completions ")
    assert f"authorization: bearer {KEY}".encode() in head.lower()
    assert body["messages"] == [{"role": "user", "content": "Hello?"}]
    assert body["stream"] is True


async def test_g11_text_is_exact_wherever_the_network_cuts_it(provider: Provider) -> None:
    text = "é\u2028\u2029\x85\r\n🖋\x0b\x1c data: x\n\n"
    two_lines = delta(text).replace(b'"choices": ', b'"choices":\ndata: ').replace(b"\n", b"\r\n")
    stream = b": keep-alive\r\n\r\n" + two_lines + FINISH + DONE
    provider.chunks = [stream[byte : byte + 1] for byte in range(len(stream))]
    assert (await answer_of(provider))[0] == text


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b"{}", "provider_unauthorized"),
        (404, b"{}", "provider_not_found"),
        (429, b"{}", "provider_overloaded"),
        (500, b"<html>", "provider_error"),
        (400, b'{"error": {"message": "too long a prompt"}}', "provider_refused"),
        (400, b'{"error": {"code": "context_length_exceeded"}}', "context_too_long"),
        (400, b"<html>", "provider_refused"),
    ],
)
async def test_refusals_become_public_messages(
    provider: Provider, status: int, body: bytes, code: str
) -> None:
    provider.status, provider.chunks = status, [body]
    with pytest.raises(StreamError) as refused:
        await answer_of(provider)
    assert refused.value.code == code
    assert KEY not in refused.value.message
    assert "too long a prompt" not in refused.value.message, "the provider's words must stay secret"


@pytest.mark.parametrize(
    ("chunks", "chunked", "code"),
    [
        ([delta("half")], True, "provider_cut"),
        ([delta("half")], False, "provider_cut"),
        ([delta("half"), b'data: {"error": {"message": "x"}}\n\n'], True, "provider_error"),
        ([b"data: {nonsense\n\n"], True, "provider_error"),
        ([b"data: []\n\n"], True, "provider_error"),
    ],
)
async def test_g5_broken_answer_is_an_error(
    provider: Provider, chunks: list[bytes], chunked: bool, code: str
) -> None:
    provider.chunks, provider.chunked = chunks, chunked
    with pytest.raises(StreamError) as broken:
        await answer_of(provider)
    assert broken.value.code == code


async def test_unreachable_provider(provider: Provider) -> None:
    provider.port = 1
    with pytest.raises(StreamError) as refused:
        await answer_of(provider)
    assert refused.value.code == "provider_unreachable"


async def test_demo_answers_from_the_provider(provider: Provider, tmp_path: Path) -> None:
    provider.chunks = [delta("I am a "), delta("model."), FINISH, DONE]
    async with demo_server(tmp_path / "demo.db", provider.environment) as (_, client):
        about = (await client.get("/about")).json()
        assert about == {"name": "small at 127.0.0.1", "note": ""}
        visitor = await Visitor.arrive(client)
        heard = Heard()
        await visitor.follow(await visitor.stream_of("Who are you?"), heard)
        assert heard.text == "I am a model."
        assert heard.end is not None
        assert heard.end["result"]["finish_reason"] == "stop"

        provider.status, provider.chunks = 429, [b"{}"]
        troubled = Heard()
        await visitor.follow(await visitor.stream_of("And now?"), troubled)
        assert troubled.end is not None
        assert (troubled.end["status"], troubled.end["code"]) == ("error", "provider_overloaded")
        assert "Try again" in troubled.end["message"]
        asked = provider.requests[-1][1]["messages"]
        assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]
        assert asked[1]["content"] == "I am a model."


def test_the_key_selects_the_responder() -> None:
    assert choose_responder({}).note
    assert choose_responder({"OPENAI_API_KEY": " "}).note
    responder = choose_responder({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://[::1]:9/v1"})
    assert responder.name == "gpt-4.1-mini at ::1"
