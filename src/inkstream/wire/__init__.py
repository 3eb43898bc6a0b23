"""The formats of offsets, messages, segments and events. The functions here do no I/O."""

from inkstream.wire._events import PING, end_frame, end_object, escape_text, event_frames, one_line
from inkstream.wire._joined import joined
from inkstream.wire._messages import (
    END_KEY,
    MAX_JSON_DEPTH,
    RawJSON,
    check_depth,
    clean_text,
    dump_json,
    dump_object,
    load_json,
    size_of,
)
from inkstream.wire._offsets import START, HasRuns, Offset, offset_start
from inkstream.wire._segments import (
    SEGMENT_BYTES,
    cut,
    decode_messages,
    encode_messages,
    encode_whole,
    index_entries,
    is_all_text,
    json_index,
    merge,
    readable_messages,
    text_of,
)

__all__ = [
    "END_KEY",
    "MAX_JSON_DEPTH",
    "PING",
    "SEGMENT_BYTES",
    "START",
    "HasRuns",
    "Offset",
    "RawJSON",
    "check_depth",
    "clean_text",
    "cut",
    "decode_messages",
    "dump_json",
    "dump_object",
    "encode_messages",
    "encode_whole",
    "end_frame",
    "end_object",
    "escape_text",
    "event_frames",
    "index_entries",
    "is_all_text",
    "joined",
    "json_index",
    "load_json",
    "merge",
    "offset_start",
    "one_line",
    "readable_messages",
    "size_of",
    "text_of",
]
