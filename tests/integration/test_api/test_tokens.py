"""Tokens of an OpenID Connect provider, whose private key only the test has."""

import base64
import hmac
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from api.settings import OidcSettings
from api.tokens import Tokens
from gis.errors import ConfigError

ISSUER, AUDIENCE = "https://id.example.org/realms/city", "baige"
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
CODE = {"filter": "code = '0007'"}


def claims(**more: Any) -> dict[str, Any]:
    base = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u-4711",
        "exp": int(time.time()) + 600,
        "realm_access": {"roles": ["gis"]},
        "area": "420502",
    }
    return {name: value for name, value in {**base, **more}.items() if value is not None}


def signed(key: Any = RSA, algorithm: str = "RS256", *, kid: str | None = None, **more: Any) -> str:
    return jwt.encode({"alg": algorithm, "kid": kid or key.kid}, claims(**more), key, algorithms=[algorithm])


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oidc") / "jwks.json"
    path.write_text(json.dumps(KeySet([RSA, EC, ED]).as_dict(private=False)))
    return path


@pytest.fixture
def asking(served: Any, key_file: Path) -> Iterator[Callable[..., Any]]:
    """GET items with a hidden column in the filter, as the bearer of a token."""
    roles = {"gis": "officer", "boss": "admin"}
    served.state.tokens = Tokens(
        OidcSettings(
            issuer=ISSUER,
            audience=AUDIENCE,
            jwks_file=key_file,
            role_claim="realm_access.roles",
            role_map=roles,
            district_claim="area",
        )
    )

    def ask(token: str) -> Any:
        return served.client.get("/collections/kiosk/items", params=CODE, headers={"Authorization": f"Bearer {token}"})

    yield ask
    served.state.tokens = None


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "Ed25519")])
def test_good_tokens(asking: Any, key: Any, algorithm: str) -> None:
    assert asking(signed(key, algorithm)).status_code == 200
    assert asking(signed(key, algorithm, aud=["other", AUDIENCE])).status_code == 200


def plain(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(algorithm: str) -> str:
    return f"{plain({'alg': algorithm, 'kid': 'rsa-1'})}.{plain(claims())}."


def confused() -> str:
    """Signed by HMAC with the public key as the secret."""
    text = f"{plain({'alg': 'HS256', 'kid': 'rsa-1'})}.{plain(claims())}"
    mac = hmac.digest(RSA.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def tampered() -> str:
    head, _, signature = signed().split(".")
    return f"{head}.{plain(claims(realm_access={'roles': ['boss']}))}.{signature}"


STRANGER = RSAKey.generate_key(2048, {"kid": "stranger"})


def brought(name: str, value: Any, *, key: Any = STRANGER) -> str:
    """A token that brings its key along, or says where to fetch it, or how it wants to be read."""
    head = {"alg": "RS256", "kid": "rsa-1", name: value}
    text = f"{plain(head)}.{plain(claims(realm_access={'roles': ['boss']}))}"
    signature = jwt.encode({"alg": "RS256"}, {}, key, algorithms=["RS256"]).split(".")[2]
    return f"{text}.{signature}"


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: signed(exp=int(time.time()) - 100), "expired"),
    "not yet": (lambda: signed(nbf=int(time.time()) + 1000), "nbf"),
    "issued later": (lambda: signed(iat=int(time.time()) + 1000), "iat"),
    "audience": (lambda: signed(aud="another"), "audience"),
    "audiences": (lambda: signed(aud=["another", "third"]), "audience"),
    "no audience": (lambda: signed(aud=None), "aud"),
    "issuer": (lambda: signed(iss="https://evil.example.org"), "issuer"),
    "no expiry": (lambda: signed(exp=None), "exp"),
    "endless": (lambda: signed(exp=10**12), "exp"),
    "no subject": (lambda: signed(sub=None), "sub"),
    "kid": (lambda: signed(kid="unknown"), "kid"),
    "other key, same kid": (lambda: signed(RSAKey.generate_key(2048, {"kid": "rsa-1"})), "signature"),
    "none": (lambda: unsigned("none"), "not accepted"),
    "None": (lambda: unsigned("None"), "not accepted"),
    "hmac by public key": (confused, "algorithm"),
    "tampered": (tampered, "signature"),
    "malformed": (lambda: "a.b.c", "malformed"),
    "empty parts": (lambda: "..", "malformed"),
    "too long": (lambda: "a" * 9000 + "." + "b" * 9000 + ".c", "too long"),
    "its own key": (lambda: brought("jwk", STRANGER.as_dict(private=False)), "not accepted"),
    "key from an address": (lambda: brought("jku", "http://127.0.0.1:9/jwks.json"), "not accepted"),
    "certificate from an address": (lambda: brought("x5u", "http://127.0.0.1:9/x.pem"), "not accepted"),
    "key from a path": (lambda: brought("kid", "../../../../dev/null"), "kid"),
    "unknown extension": (lambda: brought("crit", ["bork"], key=RSA), "not accepted"),
    "unencoded payload": (lambda: brought("b64", False, key=RSA), "not accepted"),
    "list": (lambda: f"{plain({'alg': 'RS256'})}.W10.x", "not accepted"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_tokens_are_refused_and_said(asking: Any, case: str) -> None:
    make, word = BAD[case]
    answer = asking(make())
    assert answer.status_code == 401, answer.text
    assert word in answer.json()["detail"]
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_roles_and_districts(served: Any, asking: Any) -> None:
    for more in (
        {"realm_access": {"roles": ["stranger"]}},
        {"realm_access": None},
        {"realm_access": "gis"},
        {"area": None},
        {"area": "4205'"},
    ):
        assert asking(signed(**more)).status_code == 403, more
    assert asking(signed(realm_access={"roles": ["gis", "boss"]}, area=None)).status_code == 200
    token = {"Authorization": f"Bearer {signed()}"}
    body = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
        "properties": {"admin_code": "420505001001"},
    }
    assert served.client.post("/collections/kiosk/items", json=body, headers=token).status_code == 403
    body["properties"] = {"admin_code": "420502001001"}
    made = served.client.post("/collections/kiosk/items", json=body, headers=token)
    assert made.status_code == 201
    with served.database.begin() as connection:
        actor = connection.exec_driver_sql(
            "SELECT actor FROM baige_sys.change_set ORDER BY id DESC LIMIT 1"
        ).scalar_one()
    assert actor.startswith("oidc:")
    assert "4711" not in actor
    assert served.client.delete(made.headers["location"], headers=token).status_code == 204


def test_a_session_from_a_token_ends_with_it(served: Any, asking: Any) -> None:
    answer = served.client.post("/portal/login", json={"key": signed(exp=int(time.time()) - 28)})
    assert answer.status_code == 200
    cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
    assert served.client.get("/collections/kiosk/items", params=CODE, headers=cookie).status_code == 200
    time.sleep(2.2)
    assert served.client.get("/collections/kiosk/items", params=CODE, headers=cookie).status_code == 401
    served.client.cookies.clear()


def test_new_keys_in_the_file_count_at_the_next_request(asking: Any, key_file: Path) -> None:
    new = RSAKey.generate_key(2048, {"kid": "rsa-2"})
    old = key_file.read_text()
    assert asking(signed(new)).status_code == 401
    key_file.write_text(json.dumps(KeySet([RSA, EC, ED, new]).as_dict(private=False)))
    try:
        assert asking(signed(new)).status_code == 200
    finally:
        key_file.write_text(old)
        os.utime(key_file)


def test_incomplete_settings_and_broken_files_are_said(tmp_path: Path) -> None:
    assert Tokens.configured(OidcSettings()) is None
    with pytest.raises(ConfigError, match="belong together"):
        Tokens(OidcSettings(issuer=ISSUER))
    (tmp_path / "jwks.json").write_text("{}")
    for name in ("jwks.json", "missing.json"):
        with pytest.raises(ConfigError, match="cannot be read"):
            Tokens(OidcSettings(issuer=ISSUER, audience=AUDIENCE, jwks_file=tmp_path / name, role_map={"a": "viewer"}))
    with pytest.raises(ValueError, match="no such role"):
        OidcSettings(role_map={"a": "king"})
