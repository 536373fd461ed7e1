"""Metrics and logs: who may read them, what they count, and that no secret gets into them."""

import io
import json
import logging
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.observe import JsonFormatter, redacted


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in text_string_to_metric_families(text) for s in family.samples}


def test_metrics_count_what_is_asked(served: Any) -> None:
    def asked() -> float:
        found = samples(served.client.get("/metrics").text)
        key = ("baige_requests_total", (("endpoint", "get_items"), ("method", "GET"), ("status", "200")))
        return found.get(key, 0.0)

    before = asked()
    for _ in range(3):
        served.client.get("/collections/kiosk/items?limit=1")
    assert asked() == before + 3
    found = samples(served.client.get("/metrics").text)
    assert found[("baige_database_up", ())] == 1
    assert found[("baige_database_bytes", ())] > 1e6
    assert found[("baige_requests_open", ())] >= 1
    assert found[("baige_request_seconds_count", (("endpoint", "get_items"),))] >= 3


def test_metrics_are_for_this_computer_and_for_admins(served: Any) -> None:
    for headers in ({"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}, {"Host": "baige.example"}):
        assert served.client.get("/metrics", headers=headers).status_code == 401
        assert served.client.get("/metrics", headers={**headers, "X-API-Key": served.keys["planner"]}).status_code == 403
        assert served.client.get("/metrics", headers={**headers, "X-API-Key": served.keys["admin"]}).status_code == 200


def test_a_log_line_is_json_with_the_requests_id_and_without_secrets(served: Any) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("baige.access")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        key = served.keys["planner"]
        answer = httpx.get(f"{served.url}/collections/kiosk/items", params={"limit": 1, "label": "geheim"}, headers={"X-API-Key": key}, timeout=60)
        httpx.get(f"{served.url}/collections/{key}", timeout=60)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    line = next(line for line in lines if line["path"].endswith("/items"))
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/collections/kiosk/items", 200)
    assert line["bytes"] == len(answer.content)
    assert "geheim" not in stream.getvalue()  # what is asked for stays out of the log
    assert key.split("_", 2)[2] not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "key bg_0123456789ab_AbCdEf-_123456",
        "Authorization: Bearer abcdefghij.klmnop",
        "Authorization: Basic dXNlcjpiZ19zZWNyZXQ=",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "postgresql://baige:s3cret@db:5432/city",
        "host=db password=s3cret dbname=city",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert "…" in redacted(text)
    for secret in ("AbCdEf", "klmnop", "dXNlc", "c2lnb", "s3cret"):
        assert secret not in redacted(text)
