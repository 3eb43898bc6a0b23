"""The state of an encoder at a place in a stream, as a few characters (see ``Encoder``).

The state says which parts are open: a text part, a step, pieces of reasoning, tool calls. The state
names each part by the position of the message that began the part. After a reconnect, the encoder
reads the first messages of open reasoning and tool calls again, because these messages contain the
ids that the client knows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from inkstream import wire
from inkstream.http.formats import MAX_STATE
from inkstream.parts import as_known
from inkstream.wire import RawJSON

Chunk = tuple[bytes, str]

_TOKEN: Final = re.compile(r"([a-z])(0|[1-9][0-9]{0,15})(?:-(0|[1-9][0-9]{0,7}))?", re.ASCII)
_MOST_NAMED: Final = MAX_STATE // 3
"""How many open parts a state may name. Each name has at least three characters."""

_TOO_LONG: Final = "x" * (MAX_STATE + 1)


class Call:
    """A tool call that has no output yet.

    Attributes:
        position: The position of the message that began the call.
        phase: ``b``: the call has begun; ``a``: some of the call's input was sent; ``c``: the
            call's input is complete.
        index: The number of the call in the answer; -1 in formats that do not number calls.
    """

    __slots__ = ("index", "phase", "position")

    def __init__(self, position: int, phase: str, index: int) -> None:
        self.position = position
        self.phase = phase
        self.index = index

    @property
    def token(self) -> str:
        """The name of the call in a state."""
        index = "" if self.index < 0 else f"-{self.index}"
        return f"{self.phase}{self.position}{index}"


class Progress:
    """The parts that an encoder has open, and how much of the answer it has sent.

    Attributes:
        phase: ``""``: nothing was sent; ``s``: the first chunk was sent; ``f``: the chunk about the
            stream's end was sent, and only ``[DONE]`` may follow.
        text: The position at which the open text part began; ``None`` if no text part is open.
        step: The position at which the open step began; ``None`` if no step is open.
        calls: Tool calls without an output, by id.
        reasoning: The positions at which open pieces of reasoning began, by id.
        counted: How many tool calls have begun so far, in formats that number calls.
    """

    def __init__(self, state: str) -> None:
        self.phase = ""
        self.text: int | None = None
        self.step: int | None = None
        self.calls: dict[str, Call] = {}
        self.reasoning: dict[str, int] = {}
        self.counted = 0
        self._unnamed: dict[int, list[tuple[str, int]]] = {}
        self._written: str | None = None
        if state:
            self._parse(state)

    def _parse(self, state: str) -> None:
        phase, _, rest = state.partition(".")
        if phase not in ("s", "f"):
            raise ValueError(f"{state!r:.60} is not a state")
        self.phase = phase
        for token in rest.split(".") if rest else ():
            match = _TOKEN.fullmatch(token)
            if match is None:
                raise ValueError(f"{state!r:.60} is not a state")
            kind, number, index = match[1], int(match[2]), int(match[3] or -1)
            if kind == "t" and self.text is None:
                self.text = number
            elif kind == "e" and self.step is None:
                self.step = number
            elif kind == "n":
                self.counted = number
            elif kind in ("r", "b", "a", "c"):
                self._unnamed.setdefault(number, []).append((kind, index))
            else:
                raise ValueError(f"{state!r:.60} is not a state")

    def recalls(self) -> Collection[int]:
        """Return the positions at which the open parts with unknown ids began."""
        return tuple(self._unnamed)

    def recall(self, message: str | RawJSON, position: int) -> None:
        """Read the ids in a message that began a part."""
        part: Any = None if isinstance(message, str) else load_known(message)
        for kind, index in self._unnamed.pop(position):
            if part is None:
                raise ValueError("no part begins at this position")
            if kind == "r":
                if part["type"] != "reasoning-start":
                    raise ValueError("no reasoning begins at this position")
                self.reasoning[part["id"]] = position
            else:
                if part["type"] not in _BEGINNINGS:
                    raise ValueError("no tool call begins at this position")
                self.calls[part["toolCallId"]] = Call(position, kind, index)

    def changed(self) -> None:
        """Discard the cached ``state``. Call this method after each change of an attribute."""
        self._written = None

    @property
    def state(self) -> str:
        """The state as text. A text longer than ``MAX_STATE`` is not sent to clients."""
        if self._written is None:
            self._written = self._write()
        return self._written

    def _write(self) -> str:
        if len(self.reasoning) + len(self.calls) > _MOST_NAMED:
            return _TOO_LONG
        tokens = [self.phase]
        if self.text is not None:
            tokens.append(f"t{self.text}")
        if self.step is not None:
            tokens.append(f"e{self.step}")
        if self.counted:
            tokens.append(f"n{self.counted}")
        tokens += [f"r{position}" for position in self.reasoning.values()]
        tokens += [call.token for call in self.calls.values()]
        return ".".join(tokens)


_BEGINNINGS: Final = ("tool-input-start", "tool-input-available", "tool-input-error")


def load(message: RawJSON) -> Any:
    """Return a message as an object. A value of another type is wrapped in an object."""
    value = wire.load_json(message.raw)
    return value if isinstance(value, Mapping) else {"value": value}


def load_known(message: RawJSON) -> Any:
    """Return the message if it is a well-formed part, or ``None``."""
    return as_known(load(message))


class PartEncoder:
    """The shared code of the encoders in which parts begin, continue and end.

    A format defines the chunks (the methods that raise ``NotImplementedError``). If a message
    continues a part that is not open, the encoder leaves the message out, because most clients fail
    on a chunk for an unknown part.
    """

    def __init__(self, state: str) -> None:
        self._progress = Progress(state)

    def recalls(self) -> Collection[int]:
        return self._progress.recalls()

    def recall(self, message: str | RawJSON, position: int) -> None:
        self._progress.recall(message, position)

    # The chunks of a format. ``chunk`` encodes each returned value as JSON, except ``bytes``.

    def begin(self) -> Any:
        """Return the first chunk."""
        raise NotImplementedError

    def text_start(self, position: int) -> Any:
        """Return the chunk that opens a text part, or ``None``."""
        raise NotImplementedError

    def text_delta(self, position: int, text: str) -> bytes:
        """Return the chunk of a piece of text."""
        raise NotImplementedError

    def text_end(self, position: int) -> Any:
        """Return the chunk that closes a text part, or ``None``."""
        raise NotImplementedError

    def reasoning_end(self, name: str, position: int) -> Any:
        """Return the chunk that closes a piece of reasoning, or ``None``."""
        raise NotImplementedError

    def put(self, part: Any, raw: RawJSON, position: int) -> Iterator[Chunk]:
        """Yield the chunks of a part that belongs to neither text, reasoning nor a tool call."""
        raise NotImplementedError

    def reasoning(self, part: Any, raw: RawJSON, began: int) -> Any:
        """Return the chunk for a ``reasoning-start`` or a ``reasoning-delta``, or ``None``."""
        raise NotImplementedError

    def tool(self, part: Any, raw: RawJSON, call: Call | None) -> Iterator[Chunk]:
        """Yield the chunks for one part of a tool call.

        Call ``move`` if the call reaches a later phase, and ``has_output`` if it gets its output.
        """
        raise NotImplementedError

    def chunk(self, value: Any) -> Iterator[Chunk]:
        """Yield a chunk with the current state, or nothing for ``None``."""
        if value is not None:
            chunk = value if isinstance(value, bytes) else wire.dump_json(value, any_depth=True)
            yield chunk, self._progress.state

    def feed(self, message: str | RawJSON, position: int) -> Iterable[Chunk]:
        progress = self._progress
        if isinstance(message, str) and progress.text is not None and progress.phase:
            # Nearly every message is text that continues an open part.
            return ((self.text_delta(progress.text, message), progress.state),)
        chunks = list(self._feed(message, position))
        if chunks:  # the last chunk's state must include the whole message
            chunks[-1] = (chunks[-1][0], progress.state)
        return chunks

    def _feed(self, message: str | RawJSON, position: int) -> Iterator[Chunk]:
        progress = self._progress
        yield from self.started()
        if isinstance(message, str):
            progress.text = position
            progress.changed()
            yield from self.chunk(self.text_start(position))
            yield from self.chunk(self.text_delta(position, message))
            return
        yield from self.close_text()
        part = load_known(message)
        kind = "" if part is None else part["type"]
        if kind.startswith("reasoning-"):
            yield from self._reason(part, message, position)
        elif kind.startswith("tool-"):
            yield from self._use_tool(part, message, position)
        else:
            if kind == "finish-step":
                yield from self.close_reasoning()
            yield from self.put(part, message, position)

    def started(self) -> Iterator[Chunk]:
        """Yield the answer's first chunk, if it was not sent yet."""
        progress = self._progress
        if not progress.phase:
            progress.phase = "s"
            progress.changed()
            yield from self.chunk(self.begin())

    def close_text(self) -> Iterator[Chunk]:
        progress = self._progress
        if progress.text is not None:
            position, progress.text = progress.text, None
            progress.changed()
            yield from self.chunk(self.text_end(position))

    def close_reasoning(self) -> Iterator[Chunk]:
        progress = self._progress
        while progress.reasoning:
            name = next(iter(progress.reasoning))
            position = progress.reasoning.pop(name)
            progress.changed()
            yield from self.chunk(self.reasoning_end(name, position))

    def _reason(self, part: Any, raw: RawJSON, position: int) -> Iterator[Chunk]:
        progress = self._progress
        name = part["id"]
        began = progress.reasoning.get(name)
        if part["type"] == "reasoning-start":
            if began is not None and began != position:
                del progress.reasoning[name]
                progress.changed()
                yield from self.chunk(self.reasoning_end(name, began))
            progress.reasoning[name] = began = position
            progress.changed()
        if began is None:
            return
        if part["type"] == "reasoning-end":
            del progress.reasoning[name]
            progress.changed()
            yield from self.chunk(self.reasoning_end(name, began))
        else:
            yield from self.chunk(self.reasoning(part, raw, began))

    def _use_tool(self, part: Any, raw: RawJSON, position: int) -> Iterator[Chunk]:
        progress = self._progress
        call = progress.calls.get(part["toolCallId"])
        kind = part["type"]
        if kind == "tool-input-delta":
            if call is None or call.phase == "c":
                return
        elif kind in _BEGINNINGS:
            if call is not None and (kind == "tool-input-start" and call.position != position):
                del progress.calls[part["toolCallId"]]
                progress.changed()
                yield from self.abandoned(part["toolCallId"], call)
                call = None
            if call is None:
                call = Call(position, "b", progress.counted if self.counts else -1)
                progress.counted += self.counts
                progress.calls[part["toolCallId"]] = call
                progress.changed()
                yield from self.opened(part, call)
        elif call is None:
            return
        yield from self.tool(part, raw, call)

    counts = False
    """Whether this format numbers tool calls."""

    def opened(self, part: Any, call: Call) -> Iterator[Chunk]:
        """Yield the chunks that a format sends when a call begins."""
        yield from ()

    def abandoned(self, name: str, call: Call) -> Iterator[Chunk]:
        """Yield the chunks that end a call without an output, because the call begins again."""
        yield from ()

    def move(self, call: Call | None, phase: str) -> None:
        """Record that a call has reached a later phase."""
        if call is not None and call.phase != phase:
            call.phase = phase
            self._progress.changed()

    def has_output(self, name: str) -> None:
        """Record that a call has its output."""
        self._progress.calls.pop(name, None)
        self._progress.changed()
