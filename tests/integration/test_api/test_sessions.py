"""Keys and sessions: cookie, CSRF value, end at log-out, expiry and revocation, at once."""

import base64
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from api.access import SESSION_COOKIE, hash_secret, new_key
from api.limits import Limits
from tests.integration.test_api.conftest import running

CODE = {"filter": "code = '0007'"}  # a column hidden from the public
FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
    "properties": {"name_zh": "会话", "admin_code": "420502"},
}


def add_key(served: Any, role: str = "planner", *, district: str = "", expires: str = "1 day") -> tuple[str, str]:
    key_id, key = new_key()
    with served.database.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO baige_sys.api_key (id, secret_sha256, role, district, expires_at)"
                " VALUES (:i, :s, :r, :d, now() + cast(:e AS interval))"
            ),
            {"i": key_id, "s": hash_secret(key), "r": role, "d": district, "e": expires},
        )
    return key_id, key


def run(served: Any, sql: str, **values: Any) -> None:
    with served.database.begin() as connection:
        connection.execute(sa.text(sql), values)


@pytest.fixture
def browser(served: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client


def log_in(browser: httpx.Client, key: str) -> dict[str, Any]:
    answer = browser.post("/portal/login", json={"key": key})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_session_from_log_in_to_log_out(served: Any, browser: httpx.Client) -> None:
    assert browser.get("/portal/session").json() == {"authenticated": False, "role": "public", "district": ""}
    _, key = add_key(served, "officer", district="420502")
    answer = browser.post("/portal/login", json={"key": key})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{SESSION_COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert key not in cookie + answer.text
    assert answer.headers["cache-control"] == "no-store"
    csrf = answer.json()["csrf"]
    assert browser.get("/portal/session").json() == answer.json()
    assert (answer.json()["role"], answer.json()["district"]) == ("officer", "420502")
    assert browser.get("/collections/kiosk/items", params=CODE).status_code == 200
    assert browser.get("/portal/config.json").json()["authenticated"] is True

    assert browser.post("/collections/kiosk/items", json=FEATURE).status_code == 403
    made = browser.post("/collections/kiosk/items", json=FEATURE, headers={"X-CSRF-Token": csrf})
    assert made.status_code == 201, made.text
    place = made.headers["location"].removeprefix(served.url)
    for headers in (
        {},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": "错".encode()},
    ):
        assert browser.delete(place, headers=headers).status_code == 403
        assert (
            browser.post(
                "/processes/export/execution", json={"inputs": {"collection": "kiosk"}}, headers=headers
            ).status_code
            == 403
        )
    assert browser.delete(place, headers={"X-CSRF-Token": csrf}).status_code == 204

    assert browser.post("/portal/logout").status_code == 403
    old = dict(browser.cookies)
    assert browser.post("/portal/logout", headers={"X-CSRF-Token": csrf}).status_code == 204
    assert SESSION_COOKIE not in browser.cookies
    again = served.client.get("/collections/kiosk/items", headers={"Cookie": f"{SESSION_COOKIE}={old[SESSION_COOKIE]}"})
    assert again.status_code == 401
    assert "log in" in again.json()["detail"]
    assert "Max-Age=0" in again.headers["set-cookie"]


def test_tokens_of_sessions_and_keys_are_stored_hashed_only(served: Any, browser: httpx.Client) -> None:
    _, key = add_key(served)
    log_in(browser, key)
    token = browser.cookies[SESSION_COOKIE]
    with served.database.begin() as connection:
        text = str(connection.exec_driver_sql("SELECT * FROM baige_sys.session").fetchall())
        text += str(connection.exec_driver_sql("SELECT * FROM baige_sys.api_key").fetchall())
    assert token not in text
    assert key.split("_", 2)[2] not in text
    assert hash_secret(token) in text


def test_a_key_in_a_header_needs_no_csrf_value_and_wins_over_the_cookie(served: Any, browser: httpx.Client) -> None:
    log_in(browser, add_key(served, "viewer")[1])
    made = browser.post("/collections/kiosk/items", json=FEATURE, headers={"X-API-Key": served.keys["admin"]})
    assert made.status_code == 201
    served.client.delete(made.headers["location"], headers={"X-API-Key": served.keys["admin"]})


@pytest.mark.parametrize("way", ["key", "bearer", "basic", "session"])
def test_revoked_at_once(served: Any, browser: httpx.Client, way: str) -> None:
    for _ in range(5):
        key_id, key = add_key(served)
        headers = {
            "key": {"X-API-Key": key},
            "bearer": {"Authorization": f"Bearer {key}"},
            "basic": {"Authorization": "Basic " + base64.b64encode(f"qgis:{key}".encode()).decode()},
            "session": {},
        }[way]
        if way == "session":
            log_in(browser, key)
            headers = {"Cookie": f"{SESSION_COOKIE}={browser.cookies[SESSION_COOKIE]}"}
            browser.cookies.clear()
        for _ in range(3):
            assert browser.get("/collections/kiosk/items", params=CODE, headers=headers).status_code == 200
        run(served, "UPDATE baige_sys.api_key SET revoked_at = now() WHERE id = :i", i=key_id)
        assert browser.get("/collections/kiosk/items", params=CODE, headers=headers).status_code == 401
        tile = browser.get("/collections/kiosk/tiles/WebMercatorQuad/8/105/207", headers=headers)
        assert tile.status_code == 401


def test_an_expired_key_and_its_session_end(served: Any, browser: httpx.Client) -> None:
    _, key = add_key(served, expires="2 seconds")
    told = log_in(browser, key)
    headers = {"X-API-Key": key}
    assert browser.get("/collections/kiosk/items", params=CODE, headers=headers).status_code == 200
    assert browser.get("/collections/kiosk/items", params=CODE).status_code == 200
    left = time.mktime(time.strptime(told["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time()
    assert left < 3
    time.sleep(2.2)
    assert browser.get("/collections/kiosk/items", params=CODE, headers=headers).status_code == 401
    browser.cookies.clear()
    answer = browser.post("/portal/login", json={"key": key})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_script_is_never_answered_with_a_password_window(served: Any) -> None:
    headers = {"X-API-Key": "bg_000000000000_x"}
    assert (
        served.client.get("/collections/kiosk/items", headers=headers).headers["www-authenticate"].startswith("Basic")
    )
    scripted = served.client.get("/collections/kiosk/items", headers={**headers, "Sec-Fetch-Mode": "cors"})
    assert scripted.headers["www-authenticate"].startswith("Bearer")


def test_log_in_takes_no_form_and_no_other_site(served: Any) -> None:
    key = served.keys["viewer"]
    assert served.client.post("/portal/login", data={"key": key}).status_code == 415
    assert (
        served.client.post("/portal/login", json={"key": key}, headers={"Sec-Fetch-Site": "cross-site"}).status_code
        == 403
    )
    for body in (b"", b"[]", b'{"key": 1}', b"null", b"{" * 30000):
        answer = served.client.post("/portal/login", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, body[:20]
    assert served.client.post("/portal/login", json={"key": "wrong"}).status_code == 401
    assert served.client.post("/portal/login", json={"key": "bg_\x00_x"}).status_code == 401


@pytest.mark.parametrize("name", ["api_key", "X-API-Key", "apikey", "access_token", "anything"])
def test_a_key_in_the_address_is_refused_and_said(served: Any, name: str) -> None:
    for path in ("/collections/kiosk/items", "/portal/", "/healthz"):
        answer = served.client.get(path, params={name: served.keys["viewer"]})
        assert answer.status_code == 400
        assert "revoke" in answer.json()["detail"]
        assert served.keys["viewer"] not in answer.text


def limited(served: Any, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    monkeypatch.setattr(served.state, "limits", Limits(served.state.reader, **{"rate_per_s": 0.0, "burst": 3, **more}))


def test_a_key_that_asks_too_much_is_told_to_wait_and_others_are_not(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(served, monkeypatch, rate_per_s=0.01)
    one, other = ({"X-API-Key": add_key(served)[1]} for _ in range(2))
    answers = [served.client.get("/collections/kiosk/items?limit=1", headers=one) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    last = answers[-1]
    assert 90 <= int(last.headers["retry-after"]) <= 100
    assert last.headers["ratelimit"].startswith('"key";r=0')
    assert last.headers["ratelimit-policy"] == '"key";q=3;w=300'
    assert served.client.get("/collections/kiosk/items?limit=1", headers=other).status_code == 200
    assert served.client.get("/collections/kiosk/items?limit=1").status_code == 200
    # a route that asks twice who is asking counts once, and a session counts for its key
    counted = "SELECT used FROM baige_sys.key_use WHERE key_id = :i"
    key_id, key = add_key(served)
    with httpx.Client(base_url=served.url, timeout=60) as browser:
        log_in(browser, key)
        assert browser.get("/portal/outfalls.xlsx").status_code == 200
    with served.database.begin() as connection:
        assert connection.execute(sa.text(counted), {"i": key_id}).scalar_one() == 1


def test_two_servers_count_together(served: Any) -> None:
    url = served.database.url.render_as_string(hide_password=False)
    key_id, key = add_key(served)
    limits = {"key_rate_per_s": 0.001, "key_burst": 30}
    with running(served.state.settings, url, **limits) as (one, _), running(served.state.settings, url, **limits) as (two, _):

        def ask(number: int) -> int:
            return httpx.get(f"{(one, two)[number % 2]}/collections", headers={"X-API-Key": key}, timeout=60).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(ask, range(60)))
        assert Counter(statuses) == {200: 30, 429: 30}
        # some hours later, by the database's clock, there are as many more as the rate gives
        run(served, "UPDATE baige_sys.key_use SET at = at - interval '10000 seconds' WHERE key_id = :i", i=key_id)
        assert Counter(ask(number) for number in range(14)) == {200: 10, 429: 4}
        # an hour back, as a clock that was set: nothing is given, nothing is lost for good
        run(served, "UPDATE baige_sys.key_use SET at = at + interval '1 hour' WHERE key_id = :i", i=key_id)
        assert ask(0) == 429
        run(served, "UPDATE baige_sys.key_use SET at = at - interval '1000 seconds' WHERE key_id = :i", i=key_id)
        assert Counter(ask(number) for number in range(3)) == {200: 1, 429: 2}


def test_a_day_has_so_many_requests(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(served, monkeypatch, per_day=5)
    key_id, key = add_key(served)

    def ask() -> Any:
        return served.client.get("/collections/kiosk/items?limit=1", headers={"X-API-Key": key})

    answers = [ask() for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 86_400
    assert "of today" in answers[-1].json()["detail"]
    run(served, "UPDATE baige_sys.key_use SET day = day - 1 WHERE key_id = :i", i=key_id)
    assert [ask().status_code for _ in range(6)] == [200] * 5 + [429]


def test_keys_long_silent_are_forgotten(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(served, "INSERT INTO baige_sys.key_use VALUES ('old', 1, now() - interval '3 days', current_date, 1, true)")
    limited(served, monkeypatch, per_day=5)
    assert served.client.get("/collections", headers={"X-API-Key": add_key(served)[1]}).status_code == 200
    with served.database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM baige_sys.key_use WHERE key_id = 'old'").scalar_one() == 0
