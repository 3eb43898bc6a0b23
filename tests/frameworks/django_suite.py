"""Tests for Django's own test runner and client. ``test_django`` runs these tests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import AsyncClient, Client, TransactionTestCase

from inkstream import StreamNotFound
from inkstream.django import streams


def events(response: Any) -> bytes:
    return b"".join(response.streaming_content)


class Views(TransactionTestCase):
    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        streams.stop()  # Django cannot drop a database that is in use

    def setUp(self) -> None:
        streams.delete_all(group="tests")
        for name in ("one", "two", "gone"):
            streams.delete(name)
        self.ann = User.objects.create_user("ann")
        self.client = Client(enforce_csrf_checks=False)

    def test_a_user_follows_and_stops_its_own_streams_only(self) -> None:
        stream_id = streams.create(owner=str(self.ann.pk), group="tests")
        url = f"/streams/{stream_id}"
        assert self.client.get(url).status_code == 403
        self.client.force_login(self.ann)
        assert self.client.post(f"{url}/cancel").status_code == 204
        response = self.client.get(url)
        assert response["Content-Type"] == "text/event-stream"
        assert b'"status":"cancelled"' in events(response).replace(b": ", b":")
        self.client.force_login(User.objects.create_user("bob"))
        assert self.client.get(url).status_code == 404
        assert self.client.post(f"{url}/cancel").status_code == 404

    def test_gzip_leaves_events_alone(self) -> None:
        """G1: Django's gzip middleware does not compress events.

        A compressor would hold text back until its buffer is full.
        """
        self.client.get("/ask/one")
        response = self.client.get("/live/one", headers={"Accept-Encoding": "gzip"})
        assert response["Content-Encoding"] == "identity"
        assert b"Because." in events(response)

    def test_an_async_view_follows(self) -> None:
        self.client.get("/ask/two")

        async def read() -> bytes:
            response: Any = await AsyncClient().get("/alive/two")
            assert response.is_async
            body = b"".join([piece async for piece in response.streaming_content])
            await asyncio.to_thread(response.close)
            return body

        assert b"event: end" in asyncio.run(read())

    def test_a_stream_goes_with_its_transaction(self) -> None:
        """G1: a stream exists if its transaction commits, and does not exist after a rollback."""
        with pytest.raises(RuntimeError):
            self.create_and_fail()
        with pytest.raises(StreamNotFound):
            streams.read("gone")
        with transaction.atomic():
            streams.create("one", connection=connection)
            transaction.on_commit(lambda: streams.start("one", lambda: iter(["Hello"])))
        assert streams.wait("one").text == "Hello"

    def create_and_fail(self) -> None:
        with transaction.atomic():
            streams.create("gone", connection=connection)
            raise RuntimeError("after everything was done")

    def test_the_admin_lists_streams_and_changes_none(self) -> None:
        streams.create("one", owner="<b>", group="tests")
        url = "/admin/inkstream/stream/"
        self.client.force_login(self.ann)
        assert self.client.get(url).status_code == 302
        self.client.force_login(User.objects.create_superuser("root"))
        page = self.client.get(url)
        self.assertContains(page, "<td>one</td>", html=True)
        self.assertContains(page, "&lt;b&gt;")
        self.assertNotContains(self.client.get(f"{url}?owner=nobody"), "<td>one</td>", html=True)
        assert self.client.get(f"{url}?status=wrong").status_code == 404
        assert self.client.post(f"{url}add/").status_code == 403

    def test_no_migration_is_missing(self) -> None:
        call_command("makemigrations", "--check", "--dry-run", verbosity=0)
