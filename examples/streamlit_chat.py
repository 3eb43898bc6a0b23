"""Answers that survive a reload, in Streamlit: `streamlit run streamlit_chat.py`."""

import time
from collections.abc import Iterator

import streamlit as st

from inkstream import StreamNotFound
from inkstream.sync import PersistentTextStreaming


@st.cache_resource  # one instance per process: its threads write, even when a script has ended
def streams() -> PersistentTextStreaming:
    return PersistentTextStreaming("sqlite:///inkstream.db")


def ask(prompt: str) -> str:
    stream_id = streams().create(metadata={"prompt": prompt})

    def answer() -> Iterator[str]:  # stands for your model
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            time.sleep(0.1)

    streams().start(stream_id, answer)
    return stream_id


def text_of(stream_id: str) -> Iterator[str]:
    with streams().follow(stream_id) as following:
        yield from (item for item in following if isinstance(item, str))


def stop(stream_id: str) -> None:
    streams().cancel(stream_id)


st.title("Chat")
if prompt := st.chat_input("Ask something"):
    st.query_params["stream"] = ask(prompt)  # the address keeps the stream's id for a reload
if stream_id := st.query_params.get("stream"):
    try:
        asked = streams().read(stream_id).metadata["prompt"]
    except StreamNotFound:
        st.error("This answer was deleted.")
        st.stop()
    st.chat_message("user").write(asked)
    # A press ends this run of the script, stops the answer, and runs the script again.
    st.button("Stop", on_click=stop, args=(stream_id,))
    st.chat_message("assistant").write_stream(text_of(stream_id))
    st.caption(streams().read(stream_id).status)
