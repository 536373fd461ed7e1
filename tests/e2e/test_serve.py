"""``baige serve`` as an operator starts it: workers, portal, a layer added on the command line, no listening beyond loopback without a key."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def run(words: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def environment(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "BAIGE_DATABASE_URL": database_url, "BAIGE_HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="module")
def address(environment: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "api.cli", "serve", "--port", str(port), "--workers", "2", "--no-jobs"]
    limits = {"BAIGE_SERVE_KEY_RATE_PER_S": "0.0001", "BAIGE_SERVE_KEY_BURST": "40"}
    server = subprocess.Popen(words, env={**environment, **limits}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    try:
        while True:
            try:
                if httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(0.3)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def test_every_layer_is_a_collection(address: str) -> None:
    from layers.catalogue import built_in

    found = {c["id"] for c in httpx.get(f"{address}/collections", timeout=60).json()["collections"]}
    assert set(built_in()) <= found


def test_a_layer_added_on_the_command_line_is_served_by_all_workers(
    address: str, environment: dict[str, str], tmp_path: Any
) -> None:
    declaration = tmp_path / "tree.toml"
    declaration.write_text(
        'name = "tree_e2e"\ntitle_zh = "树"\ntitle_en = "Trees"\ngeometry = "Point"\nclassification = "public"\n',
        encoding="utf-8",
    )
    added = run(["layer", "add", str(declaration)], environment)
    assert added.returncode == 0, added.stderr
    time.sleep(2)
    for _ in range(12):  # a connection of its own each, so that both workers are met
        assert httpx.get(f"{address}/collections/tree_e2e/items", timeout=30).status_code == 200
        assert "tree_e2e" in httpx.get(f"{address}/collections", timeout=30).text
    removed = run(["layer", "remove", "tree_e2e"], environment)
    assert removed.returncode == 0, removed.stderr
    time.sleep(2)
    for _ in range(12):
        assert httpx.get(f"{address}/collections/tree_e2e/items", timeout=30).status_code == 404


def test_keys_on_the_command_line(address: str, environment: dict[str, str]) -> None:
    key = run(["key", "add", "--role", "viewer", "--note", "test office"], environment).stdout.strip()
    assert key.startswith("bg_")
    assert httpx.get(f"{address}/collections", headers={"X-API-Key": key}, timeout=30).status_code == 200
    listed = run(["key", "list"], environment).stdout
    assert key.split("_")[1] in listed
    assert key.split("_", 2)[2] not in listed
    assert run(["key", "revoke", key.split("_")[1]], environment).returncode == 0
    time.sleep(1.2)
    for _ in range(6):
        assert httpx.get(f"{address}/collections", headers={"X-API-Key": key}, timeout=30).status_code == 401


def test_two_workers_together_grant_a_key_what_it_may_ask(address: str, environment: dict[str, str]) -> None:
    """A connection of its own each, many at once: both workers are met. Not one more than 40, and not one less."""
    key = run(["key", "add", "--role", "viewer"], environment).stdout.strip()

    def ask(_: int) -> int:
        return httpx.get(f"{address}/collections", headers={"X-API-Key": key}, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(ask, range(70)))
    assert statuses == {200: 40, 429: 30}


def test_it_does_not_listen_beyond_loopback_without_an_admin_key(environment: dict[str, str]) -> None:
    refused = run(["serve", "--host", "0.0.0.0", "--port", "0"], environment)
    assert refused.returncode != 0
    assert "admin key" in refused.stderr
    refused = run(["serve", "--host", "0.0.0.0", "--anonymous-role", "planner"], environment)
    assert refused.returncode == 2


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """One that vouches for itself, for 127.0.0.1 and a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName(name)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    cert, secret = folder / f"{name}.crt", folder / f"{name}.key"
    cert.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    return cert, secret


def test_it_speaks_https_by_two_files(environment: dict[str, str], tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "api.cli", "serve", "--port", str(port), "--no-jobs", "--tls-cert", str(cert), "--tls-key", str(key)]
    server = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, deadline = f"https://127.0.0.1:{port}", time.monotonic() + 90
    trusting = httpx.Client(verify=ssl.create_default_context(cafile=str(cert)), timeout=30)
    try:
        while True:
            try:
                if trusting.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(0.3)
        landing = trusting.get(f"{url}/?f=json")
        assert all(link["href"].startswith(url) for link in landing.json()["links"])
        admin = run(["key", "add", "--role", "viewer"], environment).stdout.strip()
        logged_in = trusting.post(f"{url}/portal/login", json={"key": admin})
        assert logged_in.status_code == 200
        assert "; Secure" in logged_in.headers["set-cookie"]
        strangers = (ssl.create_default_context(), ssl.create_default_context(cafile=str(certificate(tmp_path, "two")[0])))
        for stranger in strangers:
            with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
                stranger.wrap_socket(plain, server_hostname="127.0.0.1")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP/1.1 200" not in plain.recv(1000)
        assert trusting.get(f"{url}/healthz").status_code == 200
    finally:
        trusting.close()
        server.terminate()
        server.wait(30)


def test_a_certificate_that_is_none_is_said_before_the_start(environment: dict[str, str], tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "one")
    other = certificate(tmp_path, "two")[1]
    (tmp_path / "no.crt").write_text("no certificate")
    for words, said in (
        (["--tls-cert", str(cert)], "both"),
        (["--tls-cert", str(cert), "--tls-key", str(tmp_path / "gone.key")], "gone.key"),
        (["--tls-cert", str(cert), "--tls-key", str(other)], "no certificate and its private key"),
        (["--tls-cert", str(tmp_path / "no.crt"), "--tls-key", str(key)], "no certificate and its private key"),
    ):
        refused = run(["serve", "--port", "0", *words], environment)
        assert refused.returncode != 0
        assert said in refused.stderr
