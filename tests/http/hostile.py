"""Text that programs often damage. The pieces cut it inside CRLF and inside a surrogate pair."""

from __future__ import annotations

from collections.abc import Iterable

PIECES = (
    "plain ",
    "nul \0 and \x1b[31m ",
    "cr\r",
    "\nlf after cr, crlf\r\n, cr alone\r ",
    "line\u2028paragraph\u2029next\x85 ",
    "data: x\n\nevent: end\nid: 1\n\n",
    "\n\n: comment\n\n",
    "rtl \u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627 ",
    "half \ud83d",
    "\ude00 whole \U0001f468\u200d\U0001f469\u200d\U0001f467 ",
    "e",
    "\u0301 combining ",
    "\ufeff\ufffe\uffff ",
    '</script><b onclick="x">&amp;</b> ',
    '"quoted" \\ \\n \\u0000 ',
    "0\r\n\r\n",
)


def text_of(pieces: Iterable[str]) -> str:
    """Return the text of these pieces, without half a surrogate pair at its end."""
    return "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


TEXT = text_of(PIECES)

LONE = "alone \ud800 and \udc00 "
LONE_TEXT = "alone \ufffd and \ufffd "
"""The stored form of ``LONE``: half a surrogate pair without its other half becomes U+FFFD."""

OBJECT = {"a": "\0\r\n\u2028</script>", "n": 1.0, "deep": [[[{"x": None}]]]}
