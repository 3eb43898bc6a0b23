"""Routes for the AI SDK's ``useChat``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from inkstream import wire
from inkstream._arguments import check_seconds
from inkstream._errors import (
    InkstreamError,
    InvalidStreamId,
    StreamConflict,
    StreamExists,
    StreamNotFound,
)
from inkstream._types import JSON, Status, StreamBody, StreamId, StreamState
from inkstream.ai_sdk._turn import (
    Turn,
    is_approved,
    message_id_of,
    note_of,
    outputs,
    parse,
    question_of,
)
from inkstream.engine.generation import Source
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.formats import ai_sdk
from inkstream.formats._ai_sdk import UI_MESSAGE, ai_sdk_from
from inkstream.http.problems import Problem, problem_for
from inkstream.parts import fold
from inkstream.wire import Offset

_RECENT: Final = 20
"""How many of a chat's newest streams this module searches for the stream that a page wants."""

_NOTHING_NEW: Final = (
    "The answer is complete, and no tool of the page has a new output. If a page sends "
    "automatically after tool calls, it repeats its request unless a step follows the outputs of "
    "these calls: yield a start-step."
)
_UNFINISHED: Final = "The answer ended before this call was complete."


class UIMessageChat:
    """Serve the AI SDK's ``useChat``: a chat is a group of streams, an answer is a stream.

    A call with an owner finds only the answers of this owner. A call without an owner finds every
    answer of the chat. So pass an owner to every method, or protect the routes in another way.

    Args:
        streams: The application's ``PersistentTextStreaming``.
        replay_s: ``resume`` also sends an answer that ended ``done`` at most this many seconds ago,
            because the page may have loaded its history before that end.
    """

    def __init__(self, streams: PersistentTextStreaming, *, replay_s: float = 60.0) -> None:
        check_seconds("replay_s", replay_s)
        self._streams = streams
        self._replay_s = replay_s

    async def reply(
        self,
        request: Request,
        body: object,
        source: Source,
        *,
        owner: str | None = None,
        metadata: Mapping[str, JSON] | None = None,
    ) -> Response:
        """Answer a POST of ``useChat``: start a new answer, or continue the last answer.

        If the page sends the output of a tool that runs in the page, the last message is an answer.
        A new stream then begins with this answer and the output, and replaces the old stream. If
        another window has already continued the answer, the response follows that window's stream.
        The stream's metadata contains the user's question, for ``messages``.

        If the last message is a complete answer with neither a new output nor the user's decision
        about a tool call, the response is 409. Without this refusal, a page that sends requests
        automatically would ask without end. If the answer in the last message is still running, and
        no window has continued it yet, the response is also 409.

        Args:
            request: The request. A request with a cookie must come from a page of this origin or of
                ``allowed_origins``.
            body: The request's JSON, as ``DefaultChatTransport`` sends it.
            source: The source that writes the answer; see ``Source``. The source is not called if
                the answer has already begun.
            owner: The user.
            metadata: Further metadata to store with the stream.
        """
        try:
            turn = parse(body)
        except ValueError as exc:
            return Problem(400, "invalid_body", f"{exc}.")
        refusal = self._streams.refusal(request)
        if refusal is not None:
            return refusal
        if "last-event-id" in request.headers:  # some clients reconnect by repeating the POST
            return await self.resume(request, turn.chat_id, owner=owner)
        try:
            stream_id, since = await self._create(turn, owner, metadata or {})
        except InkstreamError as exc:
            return problem_for(exc)
        return self._streams.stream(
            request,
            stream_id,
            source,
            owner=owner,
            group=turn.chat_id,
            format=ai_sdk_from(since),
        )

    async def resume(self, request: Request, chat_id: str, *, owner: str | None = None) -> Response:
        """Follow the running answer, from its start or from the request's last event.

        If no answer is running, the response sends the newest answer once more if it ended ``done``
        less than ``replay_s`` ago. A failed or stopped answer is not sent, because each reload
        would show the answer's error again. The history shows that error. If there is no answer to
        send, the status is 204. A request with ``Last-Event-ID`` follows the answer of that event,
        even if the answer has ended. If a page aborts the request, the answer goes on.
        """
        try:
            state = await self._followed(request, chat_id, owner)
        except InkstreamError as exc:
            return problem_for(exc)
        except ValueError as exc:
            return Problem(400, "invalid_chat", f"{exc}.")
        if state is None:
            return Response(status_code=204, headers={"cache-control": "no-store"})
        return self._streams.response(
            request, state.stream_id, owner=owner, group=chat_id, format=ai_sdk
        )

    async def stop(self, chat_id: str, body: object = None, *, owner: str | None = None) -> bool:
        """Stop a running answer for all readers. Return whether this answer was running.

        Args:
            chat_id: The chat.
            body: The request's JSON, or ``None``. Its field ``stream_id`` names the answer to stop,
                because a Stop must end neither a later answer nor the answer of another window.
                ``resumingFetch`` of the npm package sets this field. Without ``stream_id``, the
                chat's newest answer is stopped.
            owner: The user.
        """
        named = body.get("stream_id") if isinstance(body, Mapping) else None
        if named is None:
            latest = await self._streams.latest(owner=owner, group=chat_id)
            if latest is None:
                return False
            named = latest.stream_id
        try:
            return await self._streams.cancel(named, owner=owner, group=chat_id)
        except (StreamNotFound, StreamConflict, InvalidStreamId):
            return False

    async def messages(
        self, chat_id: str, *, owner: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return a chat's questions and answers, for ``useChat({messages})``.

        The running answer is left out, because ``resume`` sends it. This method begins with the
        newest answer and goes back: to its question, to the answer that the page showed before this
        question, and so on. Answers that this way does not reach are left out, for example the old
        answer to a question that the user edited. The streams of these answers stay stored.

        Args:
            chat_id: The chat.
            owner: The user.
            limit: How many of the newest streams to read.
        """
        states = (await self._streams.list(owner=owner, group=chat_id, limit=limit)).streams
        newest: dict[str, StreamState] = {}
        notes: dict[str, Mapping[str, Any]] = {}
        for state in states:
            newest.setdefault(message_id_of(state), state)
            notes[message_id_of(state)] = note_of(
                state
            )  # the note of the oldest stream contains the question
        chain: list[str] = []
        at: object = message_id_of(states[0]) if states else None
        while isinstance(at, str) and at in newest and at not in chain:
            chain.append(at)
            at = notes[at].get("after")
        ended = [newest[name].stream_id for name in chain if newest[name].ended]
        bodies = await self._streams.read_many(ended, owner=owner, group=chat_id)
        messages: list[dict[str, Any]] = []
        for name in reversed(chain):
            question = notes[name].get("question")
            if isinstance(question, Mapping):
                messages.append(dict(question))
            body = bodies.get(newest[name].stream_id)
            if body is not None and (body.parts or body.status is not Status.DONE):
                messages.append(self.message(body))
        return messages

    def message(self, body: StreamBody) -> dict[str, Any]:
        """Return an answer as a ``UIMessage``, for an application that stores the history itself.

        If the answer did not end ``done``, ``metadata.inkstream`` says how it ended.
        """
        note = body.metadata.get(UI_MESSAGE)
        named = note.get("id") if isinstance(note, Mapping) else None
        folded = fold(body.parts, ended=body.status.ended)
        for part in folded["parts"]:
            if body.status.ended and part.get("state") == "input-streaming":
                part.update(state="output-error", errorText=_UNFINISHED)
        message: dict[str, Any] = {
            "id": named if isinstance(named, str) else str(body.stream_id),
            "role": "assistant",
            "parts": folded["parts"],
        }
        metadata = folded.get("metadata", {})
        if body.end is not None and body.end.status is not Status.DONE:
            end = {"status": body.end.status.value, "message": body.end.message}
            metadata = {**metadata, "inkstream": end}
        if metadata:
            message["metadata"] = metadata
        return message

    async def _create(
        self, turn: Turn, owner: str | None, metadata: Mapping[str, JSON]
    ) -> tuple[StreamId, int]:
        """Return the stream to follow, and how many of its messages the page already has."""
        if turn.goes_on:
            return await self._go_on(turn, owner, metadata)
        after = turn.after if turn.whole else await self._after(turn, owner)
        note: dict[str, JSON] = {"question": question_of(turn.last), "after": after}
        stream_id = await self._streams.create(
            owner=owner, group=turn.chat_id, metadata={**metadata, UI_MESSAGE: note}
        )
        return stream_id, 0

    async def _after(self, turn: Turn, owner: str | None) -> str | None:
        """Return the id of the answer before the question, if the page sends only the question.

        If the user edits a question or asks it again, its new answer replaces the old answer.
        """
        listing = await self._streams.list(owner=owner, group=turn.chat_id, limit=_RECENT)
        for state in listing.streams:
            note = note_of(state)
            question = note.get("question")
            if isinstance(question, Mapping) and question.get("id") == turn.last["id"]:
                return note.get("after")
        return message_id_of(listing.streams[0]) if listing.streams else None

    async def _go_on(
        self, turn: Turn, owner: str | None, metadata: Mapping[str, JSON]
    ) -> tuple[StreamId, int]:
        message_id: str = turn.last["id"]
        listing = await self._streams.list(owner=owner, group=turn.chat_id, limit=_RECENT)
        versions = [state for state in listing.streams if message_id_of(state) == message_id]
        begin: list[str | Mapping[str, JSON]] = []
        if versions:
            state = versions[0]
            since = note_of(state).get("since", 0)
            if not state.ended and since:
                return state.stream_id, since  # another window has created this stream already
            if not state.ended:
                raise StreamConflict(state.stream_id, state.status, "The answer has not ended yet.")
            parts = (await self._streams.read(state.stream_id, owner=owner)).parts
            given = outputs(parts, turn.last)
            if state.status is Status.DONE and not given and not is_approved(turn.last):
                raise StreamConflict(state.stream_id, state.status, _NOTHING_NEW)
            begin = [*parts, *given]
        since = _count(begin)
        # A page may send automatically when all tools of the last step have outputs. Without a new
        # step, the page would see these outputs again after each answer, and ask without end.
        begin.append({"type": "start-step"})
        note = {"id": message_id, "since": since, **_inherited(versions)}
        # Two windows of one chat choose the same name. So only one window creates the stream, and
        # both windows follow the stream.
        name = f"{message_id:.480}.{len(versions)}"
        try:
            stream_id = await self._streams.create(
                name,
                owner=owner,
                group=turn.chat_id,
                metadata={**metadata, UI_MESSAGE: note},
                begin=begin,
            )
        except StreamExists:
            return StreamId(name), since
        return stream_id, since

    async def _followed(
        self, request: Request, chat_id: str, owner: str | None
    ) -> StreamState | None:
        given = request.headers.get("last-event-id")
        if given is not None:
            internal_id = Offset.parse(given.partition("~")[0]).internal_id
            listing = await self._streams.list(owner=owner, group=chat_id, limit=_RECENT)
            for state in listing.streams:
                if state.internal_id == internal_id:
                    return state
            return (
                listing.streams[0] if listing.streams else None
            )  # this stream then refuses the offset
        latest = await self._streams.latest(owner=owner, group=chat_id)
        if latest is None or latest.ended_at is None:
            return latest
        if latest.status is not Status.DONE:
            return None
        recent = self._streams.engine.clock.wall() - latest.ended_at < self._replay_s
        return latest if recent else None


def _inherited(versions: list[StreamState]) -> dict[str, JSON]:
    """Return the note about the question, from the first stream of a continued answer."""
    note = note_of(versions[-1]) if versions else {}
    return {name: note[name] for name in ("question", "after") if name in note}


def _count(messages: list[str | Mapping[str, JSON]]) -> int:
    """Return how many messages a stream stores for ``messages``; adjacent text is joined."""
    encoded = [m if isinstance(m, str) else wire.dump_object(m) for m in messages]
    segment = wire.encode_whole(encoded)
    return 0 if segment is None else segment.count
