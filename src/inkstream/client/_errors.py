"""The errors that only a reader over HTTP raises."""

from __future__ import annotations

from inkstream._errors import InkstreamError


class RequestRefused(InkstreamError):
    """The server returned an error that a retry cannot correct, or after which no retry is safe.

    After a POST, no retry is safe except after 429 and 503, because the server may have accepted
    the POST.

    Attributes:
        status: The HTTP status.
        code: The code of the server's problem document. If the response did not come from inkstream
            (but from a login page or another application), the code is ``unexpected_content``,
            ``no_stream_id`` or ``invalid_event``. If the end of the stream skips messages, the code
            is ``invalid_event`` too. For a refused ``stop``: ``stop_refused``.
    """

    code = "refused"

    def __init__(self, url: str, status: int, code: str, detail: str) -> None:
        super().__init__(f"{url} answered {status} ({code}): {detail}")
        self.url = url
        self.status = status
        self.code = code


class Unreachable(InkstreamError, TimeoutError):
    """Nothing was received for ``patience_s``, or the server asks for a wait that would exceed it.

    The items returned so far are valid. Retry later.
    """

    code = "unreachable"

    def __init__(
        self, url: str, patience_s: float, reason: str, silent_s: float, asked_s: float
    ) -> None:
        asks = f"and asks for a wait of {asked_s:.0f} s " if asked_s else ""
        super().__init__(
            f"{url} sent nothing for {silent_s:.0f} s {asks}(last: {reason}), which is longer than "
            f"patience_s = {patience_s:g}: iterate again to continue, or pass a larger patience_s"
        )
        self.url = url


class PostUncertain(InkstreamError):
    """A POST was sent, and the server may or may not have accepted it.

    Either the connection broke before the response began, or the caller abandoned the request, for
    example by a timeout, or the server itself does not know (``outcome_unknown``). If you iterate
    again, the reader repeats the POST, which may create a second stream.
    """

    code = "post_uncertain"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the server may or may not have accepted the POST to {url} ({reason}): look whether "
            "the stream is there, or iterate again to send the POST again"
        )
        self.url = url
