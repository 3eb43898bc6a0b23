"""Tests of sources with the real SDKs, and with a local server that imitates the providers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeAlias

import pytest

from inkstream import PersistentTextStreaming, StreamBody, sources
from inkstream.parts import fold
from tests.interop.providers import Provider, Reply, playing
from tests.sources.test_parsers import CHAT, CONTENT, MESSAGES, RESPONSES

pytestmark = [
    pytest.mark.interop,
    # These warnings come from the SDKs themselves, so an application cannot avoid them.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def nothing_blocks() -> None:
    """Turn off the check for blocking calls, because LiteLLM reads files on the event loop."""


SECRET = "sk-secret-detail"
Answer: TypeAlias = "Callable[[], AsyncIterator[Any]]"
Sdk: TypeAlias = "Callable[[Provider, AsyncExitStack], Answer]"


def filled(events: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    return [fields | event for event in events]


CHAT_EVENTS = filled(CHAT, id="c", object="chat.completion.chunk", created=0)


def openai_chat(provider: Provider, stack: AsyncExitStack) -> Answer:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0)
    stack.push_async_callback(client.close)
    return lambda: sources.openai_chat(
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Why?"}], stream=True
        )
    )


def openai_responses(provider: Provider, stack: AsyncExitStack) -> Answer:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0)
    stack.push_async_callback(client.close)
    return lambda: sources.openai_responses(
        client.responses.create(model="m", input="Why?", stream=True)
    )


def litellm(provider: Provider, stack: AsyncExitStack) -> Answer:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise LiteLLM downloads prices
    import litellm

    return lambda: sources.openai_chat(
        litellm.acompletion(
            model="openai/m",
            api_key="k",
            api_base=f"{provider.url}/v1",
            messages=[{"role": "user", "content": "Why?"}],
            stream=True,
            stream_options={"include_usage": True},
            num_retries=0,
            max_retries=0,
        )
    )


def lean(provider: Provider, stack: AsyncExitStack) -> Answer:
    model = sources.ChatCompletions("m", api_key="k", base_url=f"{provider.url}/v1")
    return lambda: model.answer([{"role": "user", "content": "Why?"}])


def anthropic(provider: Provider, stack: AsyncExitStack) -> Answer:
    from anthropic import AsyncAnthropic

    client = AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0)
    stack.push_async_callback(client.close)
    return lambda: sources.anthropic(
        client.messages.create(
            model="m",
            max_tokens=10,
            messages=[{"role": "user", "content": "Why?"}],
            stream=True,
        )
    )


def anthropic_manager(provider: Provider, stack: AsyncExitStack) -> Answer:
    from anthropic import AsyncAnthropic

    client = AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0)
    stack.push_async_callback(client.close)
    return lambda: sources.anthropic(
        client.messages.stream(
            model="m", max_tokens=10, messages=[{"role": "user", "content": "Why?"}]
        )
    )


def google_genai(provider: Provider, stack: AsyncExitStack) -> Answer:
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=provider.url))
    stack.push_async_callback(client.aio.aclose)
    return lambda: sources.google_genai(
        client.aio.models.generate_content_stream(model="m", contents="Why?")
    )


def langchain(provider: Provider, stack: AsyncExitStack) -> Answer:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", api_key="k", base_url=f"{provider.url}/v1", max_retries=0)  # type: ignore[arg-type]
    return lambda: sources.langchain(model.astream("Why?"))


def pydantic_ai(provider: Provider, stack: AsyncExitStack) -> Answer:
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0)
    stack.push_async_callback(client.close)
    own = OpenAIProvider(openai_client=client)
    agent = Agent(OpenAIChatModel("m", provider=own), retries=0)
    return lambda: sources.pydantic_ai(agent.run_stream_events("Why?"))


def camel(event: Any) -> Any:
    """Return ``event`` with its keys in camel case, as Google's API sends them."""

    def name(key: str) -> str:
        first, *rest = key.split("_")
        return first + "".join(map(str.title, rest))

    if isinstance(event, dict):
        return {name(key): camel(entry) for key, entry in event.items()}
    return [camel(entry) for entry in event] if isinstance(event, list) else event


MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "usage": {"input_tokens": 3, "output_tokens": 0},
    },
}
TEXT = [
    {"choices": [{"index": 0, "delta": {"content": word}}], "model": "m"}
    for word in ("The ", "sky.")
]
TEXT_EVENTS = filled(TEXT, id="c", object="chat.completion.chunk", created=0)
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "m"}
PLAIN_CHAT = filled([*TEXT, STOP], id="c", object="chat.completion.chunk", created=0)
RESPONSE = {"id": "r", "object": "response", "output": [], "status": "completed", "model": "m"}

SDKS: dict[str, tuple[Sdk, list[Any]]] = {
    "openai_chat": (openai_chat, CHAT_EVENTS),
    "openai_responses": (openai_responses, RESPONSES),
    "litellm": (litellm, CHAT_EVENTS),
    "lean": (lean, CHAT_EVENTS),
    "anthropic": (anthropic, [MESSAGE_START, *[e for e in MESSAGES[1:] if e["type"] != "text"]]),
    "anthropic_manager": (
        anthropic_manager,
        [MESSAGE_START, *[e for e in MESSAGES[1:] if e["type"] != "text"]],
    ),
    "google_genai": (google_genai, [camel(event) for event in CONTENT]),
    "langchain": (langchain, CHAT_EVENTS),
    "pydantic_ai": (pydantic_ai, PLAIN_CHAT),
}
every_sdk = pytest.mark.parametrize("name", SDKS)


async def stream_of(name: str, reply: Reply) -> tuple[StreamBody, Provider]:
    sdk, _ = SDKS[name]
    async with (
        playing(reply) as provider,
        AsyncExitStack() as stack,
        PersistentTextStreaming("memory://") as streams,
    ):
        stream_id = await streams.create()
        streams.start(stream_id, sdk(provider, stack))
        return await asyncio.wait_for(streams.wait(stream_id), 20), provider


@every_sdk
async def test_an_answer_is_stored(name: str) -> None:
    _, events = SDKS[name]
    body, _ = await stream_of(name, Reply(events, done="choices" in events[0]))
    assert body.end is not None
    assert (body.status, body.end.code) == ("done", None)
    assert isinstance(body.end.result, dict)
    assert body.end.result["model"] == "m"
    if name == "pydantic_ai":
        assert body.text == "The sky."
        assert body.end.result["finish_reason"] == "stop"
        return
    assert body.text == "The sky is blue."
    assert body.end.result["finish_reason"] == "tool-calls"
    usage = body.end.result["usage"]
    assert isinstance(usage, dict)
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 5)
    parts = [part for part in body.parts if not isinstance(part, str)]
    assert {"q": "sky"} in [p["input"] for p in parts if p["type"] == "tool-input-available"]
    if name != "langchain":  # langchain-openai does not pass on the reasoning
        assert "reasoning-delta" in [part["type"] for part in parts]


@every_sdk
async def test_a_clean_cut_is_an_error(name: str) -> None:
    """G5: a provider that closes its connection in the middle of an answer causes an error."""
    _, events = SDKS[name]
    body, _ = await stream_of(name, Reply(events[:2]))
    assert body.end is not None
    code = (
        "provider_error" if name == "litellm" else "provider_cut"
    )  # LiteLLM raises an error class of its own
    assert (body.status, body.end.code) == ("error", code)


@every_sdk
async def test_a_broken_connection_is_an_error(name: str) -> None:
    _, events = SDKS[name]
    body, _ = await stream_of(name, Reply(events[:2], cut=True))
    assert body.end is not None
    assert body.status == "error"
    assert str(body.end.code).startswith("provider_")


@every_sdk
@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "provider_unauthorized"), (429, "provider_overloaded"), (500, "provider_error")],
)
async def test_a_providers_text_is_not_shown(
    name: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inkstream")
    error = {"type": "api_error", "message": SECRET, "code": None, "status": "X"}
    body, _ = await stream_of(name, Reply([{"error": error}], status=status))
    assert body.end is not None
    assert (body.status, body.end.code) == ("error", code)
    ours = [record.getMessage() for record in caplog.records if record.name == "inkstream"]
    assert SECRET not in f"{body.end} {body.parts} {ours}"


@every_sdk
async def test_a_stop_closes_the_connection(name: str) -> None:
    """G6: within a second after a Stop, the connection closes.

    Otherwise the provider could go on sending and charging.
    """
    sdk, events = SDKS[name]
    async with (
        playing(Reply(events[:6], hang=True)) as provider,
        AsyncExitStack() as stack,
        PersistentTextStreaming("memory://") as streams,
    ):
        stream_id = await streams.create()
        streams.start(stream_id, sdk(provider, stack))
        async with asyncio.timeout(15):
            following = streams.follow(stream_id)
            await anext(following)
            await following.aclose()
        assert await streams.cancel(stream_id)
        await asyncio.wait_for(provider.gone.wait(), 1)


async def test_first_byte_s_limits_the_wait_for_the_first_byte() -> None:
    """G5: if a provider never answers, the stream ends after ``first_byte_s``.

    The longer ``silence_s`` does not lengthen this wait.
    """
    async with (
        playing(Reply([], mute=True)) as provider,
        PersistentTextStreaming("memory://") as streams,
    ):
        model = sources.ChatCompletions(
            "m", base_url=f"{provider.url}/v1", first_byte_s=0.2, silence_s=60
        )
        stream_id = await streams.create()
        streams.start(stream_id, lambda: model.answer([]))
        body = await asyncio.wait_for(streams.wait(stream_id), 10)
        await asyncio.wait_for(provider.gone.wait(), 1)
    assert body.end is not None
    assert (body.status, body.end.code) == ("error", "provider_timeout")


async def test_a_run_of_an_agent_with_a_tool() -> None:
    from agents import (
        Agent,
        OpenAIChatCompletionsModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)

    @function_tool
    def search(q: str) -> str:
        return f"found {q}"

    calls = [e for e in CHAT_EVENTS if not _mentions(e, "call-b")]
    async with (
        playing(Reply(calls, done=True), Reply(PLAIN_CHAT, done=True)) as provider,
        PersistentTextStreaming("memory://") as streams,
        AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client,
    ):
        model = OpenAIChatCompletionsModel("m", client)
        agent = Agent(name="a", model=model, tools=[search])
        stream_id = await streams.create()
        streams.start(stream_id, lambda: sources.openai_agents(Runner.run_streamed(agent, "Why?")))
        body = await asyncio.wait_for(streams.wait(stream_id), 20)
    assert body.end is not None
    assert (body.status, body.end.code) == ("done", None)
    assert body.text == "The sky is blue.The sky."
    kinds = [part["type"] for part in body.parts if not isinstance(part, str)]
    assert "tool-input-available" in kinds
    assert kinds.index("tool-output-available") > kinds.index("tool-input-available")


async def test_a_run_of_pydantic_ai_with_a_tool() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    agent = Agent(TestModel(custom_output_text="It is blue."))

    @agent.tool_plain
    def search(q: str) -> str:
        return f"found {q}"

    async with PersistentTextStreaming("memory://") as streams:
        stream_id = await streams.create()
        streams.start(stream_id, lambda: sources.pydantic_ai(agent.run_stream_events("Why?")))
        body = await asyncio.wait_for(streams.wait(stream_id), 20)
    assert body.end is not None
    assert (body.status, body.end.code, body.text) == ("done", None, "It is blue.")
    kinds = [part["type"] for part in body.parts if not isinstance(part, str)]
    assert kinds.count("tool-input-available") == kinds.count("tool-output-available") == 1


def vercel_adapter(agent: Any) -> Any:
    """Return the adapter that an application makes from a request of ``useChat``."""
    from pydantic_ai.ui.vercel_ai import VercelAIAdapter

    asked = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}
    body = {"trigger": "submit-message", "id": "chat", "messages": [asked]}
    run_input = VercelAIAdapter.build_run_input(json.dumps(body).encode())
    return VercelAIAdapter(agent=agent, run_input=run_input, sdk_version=6)


async def test_ui_chunks_of_pydantic_ai() -> None:
    """G2: inkstream stores the chunks of pydantic-ai's adapter, even a tool's output None."""
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    agent = Agent(TestModel(custom_output_text="It is blue."))

    @agent.tool_plain
    def search(q: str) -> str:
        return f"found {q}"

    @agent.tool_plain
    def note(q: str) -> None:
        """Return nothing, as some tools of a model do."""

    async with PersistentTextStreaming("memory://") as streams:
        stream_id = await streams.create()
        streams.start(stream_id, lambda: sources.ui_chunks(vercel_adapter(agent).run_stream()))
        body = await asyncio.wait_for(streams.wait(stream_id), 20)
    assert body.end is not None
    assert (body.status, body.end.code, body.text) == ("done", None, "It is blue.")
    folded = fold(body.parts, ended=True)["parts"]
    calls = [part for part in folded if part["type"].startswith("tool-")]
    assert [(call["type"], call["state"]) for call in calls] == [
        ("tool-search", "output-available"),
        ("tool-note", "output-available"),
    ]
    assert "data-part" not in [part["type"] for part in folded]


async def test_ui_chunks_of_a_failed_run(caplog: pytest.LogCaptureFixture) -> None:
    """The adapter puts the text of an exception into a chunk.

    Readers and logs must not get this text.
    """
    from pydantic_ai import Agent
    from pydantic_ai.models.function import FunctionModel

    async def failing(messages: Any, info: Any) -> AsyncIterator[str]:
        yield "some "
        raise RuntimeError(SECRET)

    agent = Agent(FunctionModel(stream_function=failing))
    async with PersistentTextStreaming("memory://") as streams:
        stream_id = await streams.create()
        streams.start(stream_id, lambda: sources.ui_chunks(vercel_adapter(agent).run_stream()))
        body = await asyncio.wait_for(streams.wait(stream_id), 20)
    assert body.end is not None
    assert (body.status, body.end.code, body.text) == ("error", "provider_error", "some ")
    ours = [record.getMessage() for record in caplog.records if record.name == "inkstream"]
    assert SECRET not in f"{body.end} {body.parts} {ours}"


async def test_a_graph_of_langgraph() -> None:
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langgraph.graph import END, START, MessagesState, StateGraph

    model = FakeListChatModel(responses=["It is blue."])

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    compiled = graph.compile()
    asked = {"messages": [("user", "Why?")]}
    async with PersistentTextStreaming("memory://") as streams:
        for options in (
            {"stream_mode": "messages"},
            {"stream_mode": ["messages", "updates"]},
            {"stream_mode": "messages", "subgraphs": True},
            {"stream_mode": ["messages", "custom"], "subgraphs": True},
        ):
            stream_id = await streams.create()
            made = compiled.astream(asked, **options)
            streams.start(stream_id, lambda made=made: sources.langchain(made))
            body = await asyncio.wait_for(streams.wait(stream_id), 20)
            assert (body.status, body.text) == ("done", "It is blue."), options


async def test_a_synchronous_client_is_read_in_a_thread() -> None:
    from openai import OpenAI

    async with (
        playing(Reply(CHAT_EVENTS, done=True)) as provider,
        PersistentTextStreaming("memory://") as streams,
    ):
        client = OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0)

        def answer() -> Any:
            chunks = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Why?"}], stream=True
            )
            yield from sources.openai_chat(chunks)

        stream_id = await streams.create()
        streams.start(stream_id, answer)
        body = await asyncio.wait_for(streams.wait(stream_id), 20)
        with suppress(Exception):
            client.close()
    assert (body.status, body.text) == ("done", "The sky is blue.")


async def test_a_stop_closes_the_connection_of_a_synchronous_client() -> None:
    """G6: a Stop ends the stream at once, and the thread then closes the provider's connection.

    A thread cannot be cancelled, so it closes the connection when the next event arrives.
    """
    from openai import OpenAI

    async with (
        playing(Reply(TEXT_EVENTS, endless=True)) as provider,
        PersistentTextStreaming("memory://") as streams,
    ):
        client = OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0)

        def answer() -> Any:
            yield from sources.openai_chat(
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Why?"}], stream=True
                )
            )

        stream_id = await streams.create()
        streams.start(stream_id, answer)
        async with asyncio.timeout(15):
            following = streams.follow(stream_id)
            await anext(following)
            await following.aclose()
        assert await streams.cancel(stream_id)
        assert (await streams.read(stream_id)).status == "cancelled"
        await asyncio.wait_for(provider.gone.wait(), 1)
        with suppress(Exception):
            client.close()


def _mentions(event: Any, word: str) -> bool:
    return word in str(event)
