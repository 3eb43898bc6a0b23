"""Runs a source, which writes one stream, until the source or the stream ends."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from inkstream._errors import (
    InkstreamError,
    InvalidInput,
    StoreUnavailable,
    StreamError,
    WriterFenced,
)
from inkstream._events import LogEvent, facts
from inkstream._types import JSON, End, Status
from inkstream.engine.writer import Writer

_log = logging.getLogger("inkstream")

SOURCE_TASK: Final = "inkstream-source-"
"""The name of a source's task is this prefix and the stream's id."""


@dataclass(frozen=True, slots=True)
class Result:
    """Yield this from a source to store a JSON value, for example the usage, with the stream's end.

    Only the last result of a source counts. inkstream stores this result also if the source raises
    later, or if another operation ends the stream. But if the source raises a ``StreamError`` with
    a result, inkstream stores only the error's result.
    """

    value: JSON


Message: TypeAlias = str | Mapping[str, JSON]
"""An item of a source: a piece of text, or a JSON object."""

Append: TypeAlias = Callable[[Message], Awaitable[None]]

Source: TypeAlias = (
    Callable[[], AsyncIterator[Message | Result]]
    | Callable[[], Iterable[Message | Result]]
    | Callable[[Append], Awaitable[JSON]]
    | AsyncIterator[Message | Result]
    | Iterable[Message | Result]
)
"""The code that produces an answer.

A source is one of these: an async generator function, an async iterator, a plain generator
function, a plain iterable, or a coroutine function that takes ``append`` and may return the result.
A plain generator or iterable runs in its own thread.
"""


async def run_source(source: Any, writer: Writer) -> None:
    """Append the messages that ``source`` yields, and keep its results.

    An async iterator is closed at the end, and also if this coroutine is cancelled. So the
    ``finally`` blocks of an async generator run. The thread of a plain generator goes on until the
    generator yields the next item, and then closes the generator.

    Raises:
        RuntimeError: The source raised ``SystemExit`` (for example with ``sys.exit()``), or raised
            ``KeyboardInterrupt`` outside the main thread.
    """
    try:
        await _run(source, writer)
    except (SystemExit, KeyboardInterrupt) as exc:
        error = _instead_of(exc)
        if error is exc:
            raise
        raise error from exc


async def _run(source: Any, writer: Writer) -> None:
    name, gave = source, False
    if callable(source) and not _is_iterator(source):
        gave = True
        if _required(source):
            awaited = source(writer.append)
            if not inspect.isawaitable(awaited):
                raise TypeError(
                    f"the source {_name_of(source)} takes an argument, so it must be 'async def', "
                    f"and await append(text); but it returned {type(awaited).__name__}"
                )
            result: JSON = await awaited
            if result is not None:
                writer.remember(result)
            return
        source = source()
    if inspect.isawaitable(source):
        source, gave = await source, True
    if gave and not _is_iterable(source):
        raise TypeError(
            f"the source {_name_of(name)} returned {type(source).__name__}, but nothing to iterate "
            "over: write 'yield text' instead of 'return text', or let it be 'async def' with a "
            "parameter append, and await append(text)"
        )
    _check_iterable(source)
    if hasattr(source, "__aiter__"):
        await _drain(source, writer)
    else:
        await _drain_in_thread(source, writer)


def check_source(source: Any) -> None:
    """Raise ``TypeError`` if ``source`` is clearly not a source, without a call of ``source``."""
    if not callable(source) or _is_iterator(source):
        if not inspect.isawaitable(source):
            _check_iterable(source)
        return
    wanted = _required(source)
    name = getattr(source, "__name__", type(source).__name__)
    if inspect.isasyncgenfunction(source) or inspect.isgeneratorfunction(source):
        if wanted:
            raise TypeError(
                f"the generator function {name} wants {', '.join(wanted)}: call it with these "
                "arguments, and give the generator that it returns. (A function that takes append "
                "is not a generator: it is 'async def', awaits append(text), and yields nothing.)"
            )
    elif len(wanted) > 1:
        raise TypeError(
            f"a source is called with append alone, but {name} wants {', '.join(wanted)}: bind "
            "the others, for example with functools.partial"
        )


def _is_iterator(source: Any) -> bool:
    return hasattr(source, "__aiter__") or hasattr(source, "__next__")


def _is_iterable(source: Any) -> bool:
    if inspect.isclass(source):
        return False
    if hasattr(source, "__aiter__"):
        return True
    return hasattr(source, "__iter__") and not isinstance(source, str | bytes | Mapping)


def _check_iterable(source: Any) -> None:
    if inspect.isclass(source):
        raise TypeError(
            f"the source {source.__qualname__} is a class: give an object of this class"
        )
    if getattr(source, "ag_frame", True) is None or getattr(source, "gi_frame", True) is None:
        raise TypeError(
            f"the generator {_name_of(source)} is used up, so it has no text for this stream: call "
            "the generator function again for each stream, or give the function itself"
        )
    if not _is_iterable(source):
        raise TypeError(
            "a source is an async generator function, an (async) iterator, or a coroutine function "
            f"that takes append; this is {type(source).__name__}"
        )


def _required(source: Callable[..., Any]) -> list[str]:
    """Return the names of the required arguments of the function ``source``."""
    try:
        parameters = inspect.signature(source).parameters.values()
    except (TypeError, ValueError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variable]


def _instead_of(exc: SystemExit | KeyboardInterrupt) -> BaseException:
    """Return the exception to raise instead of ``exc``, because ``exc`` would end the event loop.

    On the main thread, a KeyboardInterrupt may be a Ctrl-C, so it may end the loop.
    """
    if isinstance(exc, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        return exc
    error = RuntimeError(f"the source raised {exc!r}; only its stream ends")
    error.__cause__ = exc
    return error


async def _drain(source: Any, writer: Writer) -> None:
    try:
        async for message in source:
            if isinstance(message, Result):
                writer.remember(message.value)
            elif not writer.append_at_once(message):
                await writer.append(message)
    finally:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()
        elif hasattr(source, "__anext__"):
            await _close(source, writer)


async def _close(iterator: Any, writer: Writer) -> None:
    """Call ``close`` of an async iterator without ``aclose``, such as the stream of an SDK.

    Otherwise its connection would stay open. An object without ``__anext__`` is left alone, because
    the application may use it further.
    """
    close = getattr(iterator, "close", None)
    if not callable(close):
        return
    try:
        closing = close()
        if inspect.isawaitable(closing):
            await closing
    except Exception:  # no promise of an async iterator: the answer itself may be complete
        _log.exception("the source of stream %r could not be closed", writer.stream_id)


async def _drain_in_thread(source: Iterable[Any], writer: Writer) -> None:
    loop = asyncio.get_running_loop()
    # The future gets the error as its result, because no future accepts a StopIteration as its
    # exception. The stream of a source that raised a StopIteration would then never end.
    finished: asyncio.Future[BaseException | None] = loop.create_future()
    stop = threading.Event()

    def finish(error: BaseException | None) -> None:
        if not finished.done():
            finished.set_result(error)

    def append_all(messages: Iterator[Any]) -> None:
        try:
            for message in messages:
                if stop.is_set():
                    return
                if isinstance(message, Result):
                    writer.remember(message.value)
                else:
                    asyncio.run_coroutine_threadsafe(writer.append(message), loop).result()
        finally:
            # Without this call, only the garbage collector would close a generator that is not read
            # to its end: perhaps much later, and on any thread. Until it is closed, the generator
            # may keep its call to the provider open.
            close = getattr(messages, "close", None)
            if close is not None:
                close()

    def pull() -> None:
        error: BaseException | None = None
        try:
            append_all(iter(source))
        except (SystemExit, KeyboardInterrupt) as exc:
            error = _instead_of(exc)
        except BaseException as exc:
            error = exc
        finally:
            try:
                loop.call_soon_threadsafe(finish, error)
            except RuntimeError:
                pass  # the loop was closed before the source finished

    # Without ``daemon``, a source that blocks for ever would keep the process from exiting.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(pull,), name="inkstream-source", daemon=True).start()
    try:
        error = await finished
        if error is not None:
            raise error
    finally:
        stop.set()


def end_for(stream_id: str, error: BaseException | None, source: object = None) -> End:
    """Return the end of a stream whose source returned, or raised ``error``.

    Readers see the message of ``error`` only if it is a ``StreamError``. Any other error is logged.
    """
    if error is None:
        return End(Status.DONE)
    if isinstance(error, StreamError):
        return End(Status.ERROR, error.code, error.message, error.result)
    if isinstance(error, InvalidInput):
        name = "" if source is None else f", {_name_of(source)},"
        _log.error(
            "the source of stream %r%s gave a value that cannot be stored: %s",
            stream_id,
            name,
            error,
            extra=facts(LogEvent.SOURCE_FAILED, stream_id=stream_id),
        )
        return End(Status.ERROR, error.code, "The answer could not be kept.")
    _log.error(
        "the source of stream %r failed",
        stream_id,
        exc_info=error,
        extra=facts(LogEvent.SOURCE_FAILED, stream_id=stream_id),
    )
    return End(Status.ERROR, "internal", "The answer could not be completed.")


def _name_of(source: Any) -> str:
    """Return the name of ``source``, with the file and line of its code if they are known."""
    while isinstance(source, functools.partial):
        source = source.func
    name = getattr(source, "__qualname__", type(source).__qualname__)
    for attribute in ("__code__", "ag_code", "gi_code", "cr_code"):
        code = getattr(source, attribute, None)
        if code is not None:
            return f"{name} ({code.co_filename}:{code.co_firstlineno})"
    return str(name)


async def write_to_end(
    source: Any,
    writer: Writer,
    context: contextvars.Context,
    finish: Callable[[End], Awaitable[None]],
) -> asyncio.Task[None]:
    """Run ``source`` in ``context`` until the source ends, and call ``finish`` to end the stream.

    If the stream ends before the source, the source is cancelled and ``finish`` is not called. If
    the source raises ``WriterFenced`` or ``StoreUnavailable`` because ``writer`` may not write any
    more, ``finish`` is not called either.

    Returns:
        The task of the source. It may still be running, because a source may ignore the
        cancellation, or block in a thread.
    """
    task: asyncio.Task[None] = asyncio.get_running_loop().create_task(
        run_source(source, writer), name=f"{SOURCE_TASK}{writer.stream_id}", context=context
    )
    task.add_done_callback(_retrieve)
    try:
        await asyncio.wait((task, writer.stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
    if writer.stopped.done() or not task.done():
        return task
    if task.cancelled():
        error: BaseException | None = asyncio.CancelledError("the source cancelled itself")
    else:
        error = task.exception()
    # While the writer is active, such an error is not the writer's. The source called another
    # stream or another instance, and its own stream must end.
    if not writer.active and isinstance(error, WriterFenced | StoreUnavailable):
        return task
    end = end_for(writer.stream_id, error, source)
    try:
        await finish(end)
    except InvalidInput as exc:
        await finish(end_for(writer.stream_id, exc, source))
    except (WriterFenced, StoreUnavailable):
        pass  # the stream has another end or writer, was deleted, or ends when the store is back
    except InkstreamError:
        _log.exception("the end of stream %r could not be written", writer.stream_id)
    return task


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
