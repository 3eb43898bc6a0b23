"""Answers that survive a reload, in Django: the views and URLs beside a project's `manage.py`."""

import time
from collections.abc import Iterator

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import include, path
from django.views.decorators.http import require_POST

from inkstream.django import owner_of, streams

PAGE = """<!doctype html><title>Chat</title>
<form id="form">{% csrf_token %}<input name="prompt"> <button>Ask</button>
  <button type="button" id="cancel">Stop</button></form> <p id="answer"></p>
<script>
  let source, post = (url) => fetch(url, { method: "POST", body: new FormData(form) });
  cancel.onclick = () => post(`/streams/${location.hash.slice(1)}/cancel`);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const asked = await post("/ask");
    if (asked.ok) location.hash = (await asked.json()).stream_id;
  };
  onhashchange = () => {
    source?.close();
    answer.textContent = "";
    source = new EventSource("/streams/" + location.hash.slice(1));
    source.onmessage = (event) => answer.append(JSON.parse(event.data));
    source.addEventListener("end", () => source.close());
  };
  if (location.hash) onhashchange();
</script>"""


@login_required
def page(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, engines["django"].from_string(PAGE))


@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    prompt = request.POST.get("prompt", "")
    stream_id = streams.create(owner=owner_of(request))

    def answer() -> Iterator[str]:  # runs on its own thread, also after the request has ended
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            time.sleep(0.5)

    streams.start(stream_id, answer)
    return JsonResponse({"stream_id": stream_id}, status=202)


urlpatterns = [
    path("", page),
    path("ask", ask),
    path("streams/", include("inkstream.django.urls")),  # to follow and stop the user's streams
]
