"""The manifests and the compose file in deploy/ agree with the image and the application."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from starlette.applications import Starlette

from inkstream import Timing

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def command() -> list[str]:
    (line,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def option(name: str) -> int:
    words = command()
    return int(words[words.index(name) + 1])


def pods() -> Iterator[dict[str, Any]]:
    for document in DOCUMENTS:
        yield document["spec"]["template"]["spec"]


@pytest.fixture
def deployment() -> dict[str, Any]:
    (found,) = (document for document in DOCUMENTS if document["kind"] == "Deployment")
    return found


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Starlette:
    monkeypatch.setenv("INKSTREAM_DATABASE", "memory://")
    spec = importlib.util.spec_from_file_location("deployed_app", DEPLOY / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    deployed: Starlette = module.app
    return deployed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["kind"])
def test_kubernetes_takes_it(document: dict[str, Any]) -> None:
    """Some clients of Kubernetes ignore unknown fields, so nobody would notice a misspelt name."""
    kubernetes_validate.validate(document, "1.34", strict=True)
    document["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.34", strict=True)
    del document["spec"]["template"]["spec"]["containers"][0]["readynessProbe"]


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
async def test_probes_ask_routes_that_exist(
    probe: str, deployment: dict[str, Any], app: Starlette
) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    asked = container[probe]["httpGet"]
    assert asked["port"] == option("--port") == container["ports"][0]["containerPort"]
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://pod") as client,
    ):
        assert (await client.get(asked["path"])).status_code == 200
        assert (await client.get("/health/none")).status_code == 404


def test_each_stop_fits_into_the_one_around_it(deployment: dict[str, Any]) -> None:
    """G8: a drain ends before the orchestrator would kill the process."""
    pod = deployment["spec"]["template"]["spec"]
    _, pause = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    graceful = option("--timeout-graceful-shutdown")
    assert Timing().shutdown_grace_s + 5 <= graceful
    assert int(pause) + graceful + 5 <= pod["terminationGracePeriodSeconds"]
    assert graceful + 5 <= int(COMPOSE["services"]["app"]["stop_grace_period"].removesuffix("s"))


def test_an_update_has_no_gap(deployment: dict[str, Any]) -> None:
    """G8: during an update, no old process stops before a new process is ready."""
    strategy = deployment["spec"]["strategy"]["rollingUpdate"]
    assert (strategy["maxUnavailable"], strategy["maxSurge"]) == (0, 1)
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]


def test_nothing_runs_as_root() -> None:
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(user) > 0
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
    for name in ("migrate", "app"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_waits_and_keeps_its_password_out(deployment: dict[str, Any]) -> None:
    """The application starts after the migration, and the files contain no database password."""
    services = COMPOSE["services"]
    assert services["app"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "${DATABASE_PASSWORD:?" in services["app"]["environment"]["INKSTREAM_DATABASE"]
    assert set(COMPOSE["volumes"]) == {"database"}
    for pod in pods():
        (variable,) = pod["containers"][0]["env"]
        assert variable["valueFrom"]["secretKeyRef"] == {"name": "inkstream", "key": "database"}
