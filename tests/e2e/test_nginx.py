"""Behind nginx as ``deploy/nginx/baige.conf`` sets it up: links, addresses of clients, limits, and what is said while the server is away."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from layers.database import Database
from tests.e2e.test_serve import certificate, run

REPOSITORY = Path(__file__).parents[2]
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:{REPOSITORY / '.tools' / 'nginx' / 'usr' / 'sbin'}")
#: Addresses of loopback: a client's own, and the one that the proxy comes from, which alone is trusted.
CLIENT, PROXY, SPOOFED = "127.0.0.9", "127.0.0.2", "203.0.113.66"
FEATURE = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
           "properties": {"device_code": "42050200001310000001", "name_zh": "代理", "admin_code": "420502"}}  # fmt: skip


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(found: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)
    return value


@dataclass
class Behind:
    """nginx before a server."""

    https: int
    http: int
    server: int
    environment: dict[str, str]
    trust: ssl.SSLContext
    log: Path
    process: "subprocess.Popen[bytes]"

    def client(self, **more: Any) -> httpx.Client:
        """A client of its own address that calls nginx by its name, whatever the name server says."""

        def by_name(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = "baige.example"
            request.headers["Host"] = "baige.example"

        transport = httpx.HTTPTransport(verify=self.trust, local_address=CLIENT)
        return httpx.Client(base_url=f"https://127.0.0.1:{self.https}", transport=transport, timeout=60, event_hooks={"request": [by_name]}, **more)

    def line(self, request_id: str) -> dict[str, Any]:
        """What the server logged of a request."""

        def find() -> Any:
            lines = (json.loads(text) for text in self.log.read_text().splitlines() if text.startswith("{"))
            return next((line for line in lines if line.get("request_id") == request_id and line["message"] == "request"), None)

        return dict(until(find, 10))


@pytest.fixture(scope="module")
def behind(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    assert NGINX is not None
    folder = tmp_path_factory.mktemp("nginx")
    cert, key = certificate(folder, "baige.example")
    https, http, server = free_ports(3)
    text = (REPOSITORY / "deploy" / "nginx" / "baige.conf").read_text(encoding="utf-8")
    for old, new, times in (
        ("listen 443 ssl", f"listen 127.0.0.1:{https} ssl", 2), ("listen 80;", f"listen 127.0.0.1:{http};", 1),
        ("127.0.0.1:8080", f"127.0.0.1:{server}", 1), ("/etc/baige/tls/baige.crt", str(cert), 1), ("/etc/baige/tls/baige.key", str(key), 1),
        ("/var/log/nginx/baige.log", str(folder / "access.log"), 2), ("proxy_pass http://baige;", f"proxy_pass http://baige; proxy_bind {PROXY};", 1),
    ):  # fmt: skip
        assert text.count(old) == times, old
        text = text.replace(old, new)
    (folder / "baige.conf").write_text(text, encoding="utf-8")
    places = "".join(f"{name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder / 'pid'}; error_log {folder / 'error.log'}; events {{}}"
        f" http {{ access_log off; {places} include {folder / 'baige.conf'}; }}"
    )
    environment = {
        **os.environ, "BAIGE_DATABASE_URL": database_url, "BAIGE_HOME": str(folder / "home"), "BAIGE_SERVE_PUBLIC_URL": "https://baige.example",
        "BAIGE_SERVE_TRUSTED_PROXIES": f"{PROXY}, 10.0.0.0/8", "BAIGE_SERVE_LOG_FORMAT": "json", "BAIGE_SERVE_LOG_LEVEL": "info",
        "BAIGE_SERVE_PORT": str(server),
    }  # fmt: skip
    log = folder / "serve.log"
    words = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    tested = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    # nginx from 1.25.1 on would rather have `http2 on;`, which those before it (Debian 12) do not know
    warned = [line for line in tested.stderr.splitlines() if "[warn]" in line and '"listen ... http2" directive is deprecated' not in line]
    assert tested.returncode == 0 and not warned, tested.stderr
    proxy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with log.open("ab") as out:
        serve = [sys.executable, "-m", "api.cli", "serve", "--workers", "1", "--no-jobs"]
        process = subprocess.Popen(serve, env=environment, stdout=subprocess.DEVNULL, stderr=out)
    made = Behind(https, http, server, environment, ssl.create_default_context(cafile=str(cert)), log, process)
    try:
        with made.client() as client:
            until(lambda: listens(http))
            away = client.get("/readyz")  # nobody is there yet
            assert away.status_code == 503 and away.headers["retry-after"] == "5"
            until(lambda: client.get("/readyz").status_code == 200)
        yield made
    finally:
        for running in (proxy, made.process):
            running.terminate()
        for running in (proxy, made.process):
            running.wait(30)


if NGINX is not None:

    def test_links_bear_the_public_name_whatever_the_request_says(behind: Behind) -> None:
        headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example;proto=http"}
        with behind.client() as client:
            for path in ("/?f=json", "/collections?f=json", "/collections/school/items?limit=1", "/openapi", "/processes?f=json", "/?f=html"):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 200
                assert "evil.example" not in answer.text and f"127.0.0.1:{behind.server}" not in answer.text
                if "json" in path:
                    assert all(httpx.URL(link["href"]).copy_with(path="/", query=None) == "https://baige.example/" for link in answer.json()["links"])
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
                assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers.get("server") == "nginx"
            assert client.get("/portal").headers["location"] == "/portal/"
        plain = httpx.get(f"http://127.0.0.1:{behind.http}/collections?limit=1", headers={"Host": "baige.example"}, timeout=30)
        assert (plain.status_code, plain.headers["location"]) == (308, "https://baige.example/collections?limit=1")

    def test_another_name_gets_no_answer(behind: Behind) -> None:
        with httpx.Client(verify=behind.trust) as client, pytest.raises(httpx.ConnectError, match=r"(?i)alert|unrecognized"):
            client.get(f"https://127.0.0.1:{behind.https}/", extensions={"sni_hostname": "evil.example"})

    def test_the_clients_address_is_logged_and_cannot_be_made_up(behind: Behind) -> None:
        claims = {"X-Forwarded-For": SPOOFED, "X-Real-IP": SPOOFED, "Forwarded": f"for={SPOOFED}"}
        with behind.client() as client:
            for headers in ({}, claims, {"X-Forwarded-For": f"{SPOOFED}, 10.1.1.1, {PROXY}"}):
                answer = client.get("/collections/school/items?limit=1", headers=headers)
                assert behind.line(answer.headers["x-request-id"])["client"] == CLIENT
        # past the proxy: the peer is not one that is trusted, so that it is the peer that is written down
        for headers in (claims, {"X-Forwarded-For": f"{SPOOFED}, {PROXY}"}):
            answer = httpx.get(f"http://127.0.0.1:{behind.server}/conformance", headers={**headers, "X-Forwarded-Proto": "https"}, timeout=30)
            assert behind.line(answer.headers["x-request-id"])["client"] == "127.0.0.1"
        # and from an address that is trusted it is believed, so that the test above can fail
        with httpx.Client(transport=httpx.HTTPTransport(local_address=PROXY), timeout=30) as trusted:
            answer = trusted.get(f"http://127.0.0.1:{behind.server}/conformance", headers={"X-Forwarded-For": SPOOFED})
        assert behind.line(answer.headers["x-request-id"])["client"] == SPOOFED
        assert SPOOFED not in (behind.log.parent / "access.log").read_text()
        assert "limit=1" not in (behind.log.parent / "access.log").read_text() + behind.log.read_text()

    def test_a_change_is_in_the_audit_and_its_address_in_the_log_and_a_session_is_for_https_only(behind: Behind, database_url: str) -> None:
        key = run(["key", "add", "--role", "planner"], behind.environment).stdout.strip()
        with behind.client(headers={"X-API-Key": key}) as client:
            made = client.post("/collections/camera_site/items", json=FEATURE, headers={"Content-Type": "application/geo+json"})
            assert made.status_code == 201, made.text
            assert made.headers["location"].startswith("https://baige.example/collections/camera_site/items/")
        with psycopg.connect(Database(database_url).conninfo) as connection:
            found = connection.execute("SELECT request_id, actor FROM baige_sys.audit WHERE layer = 'camera_site' AND kind <> 'read'").fetchall()
        assert found == [(made.headers["x-request-id"], key.split("_")[1])]
        assert behind.line(found[0][0])["client"] == CLIENT
        with behind.client() as client:
            assert client.get("/metrics").status_code == 401
            answer = client.post("/portal/login", json={"key": key})
            assert answer.status_code == 200 and "; Secure" in answer.headers["set-cookie"]
            assert client.get("/portal/session", headers={"Cookie": answer.headers["set-cookie"].split(";")[0]}).json()["role"] == "planner"

    def test_limits_of_proxy_and_server_fit_together(behind: Behind) -> None:
        with behind.client() as client:
            long = client.get("/collections/school/items", params={"filter": "name_zh = '" + "x" * 60_000 + "'"})
            assert long.status_code == 200, long.text[:200]
            with behind.trust.wrap_socket(socket.create_connection(("127.0.0.1", behind.https), timeout=30), server_hostname="baige.example") as raw:
                raw.sendall(b"GET /collections?q=" + b"x" * 72_000 + b" HTTP/1.1\r\nHost: baige.example\r\nConnection: close\r\n\r\n")
                said = raw.recv(65536)
            assert b" 414 " in said.split(b"\r\n")[0]
            for content in (b" " * 20_000_000, iter([b" " * 1_000_000] * 20)):
                try:
                    large = client.post("/collections/school/items", content=content)
                except (httpx.WriteError, httpx.RemoteProtocolError):
                    continue  # the proxy had said so and closed before all was sent
                assert (large.status_code, large.json()["status"]) == (413, 413)
            assert client.post("/portal/login", content=b"x" * 15_000_000, headers={"Content-Type": "application/json"}).status_code == 400

    def test_while_the_server_is_away_the_proxy_says_so(behind: Behind) -> None:
        behind.process.terminate()
        behind.process.wait(30)
        with behind.client() as client:
            away = client.get("/collections")
            assert (away.status_code, away.headers["retry-after"], away.headers["content-type"]) == (503, "5", "application/problem+json")
            assert away.json()["status"] == 503 and away.headers["strict-transport-security"]
        until(lambda: " /collections 503 " in (behind.log.parent / "access.log").read_text(), 10)
