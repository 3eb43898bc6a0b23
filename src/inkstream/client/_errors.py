"""The errors that only a reader over HTTP raises."""

from __future__ import annotations

from inkstream._errors import InkstreamError


class Refused(InkstreamError):
    """The server answered with something that will not pass by itself.

    Attributes:
        status: The HTTP status.
        code: The code of the server's problem document, or ``unexpected_content`` when the answer
            was not inkstream's (a login page, another application).
    """

    code = "refused"

    def __init__(self, url: str, status: int, code: str, detail: str) -> None:
        super().__init__(f"{url} answered {status} ({code}): {detail}")
        self.url = url
        self.status = status
        self.code = code


class Unreachable(InkstreamError, TimeoutError):
    """The server did not answer for ``patience_s``. What was given is right; ask again later."""

    code = "unreachable"

    def __init__(self, url: str, patience_s: float, reason: str) -> None:
        super().__init__(
            f"{url} gave nothing for {patience_s:g} s (last: {reason}): iterate again to go on, "
            "or pass a larger patience_s"
        )
        self.url = url


class PostUncertain(InkstreamError):
    """A post broke off before its answer began: the server has taken it, or it has not.

    Iterating again posts again, which may make a second stream.
    """

    code = "post_uncertain"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the post to {url} broke off before its answer began ({reason}): look whether the "
            "stream is there, or iterate again to post again"
        )
        self.url = url
