"""Bearer tokens of an OpenID Connect provider, checked against its public keys in a file; no call leaves the house.

The file holds the provider's JSON Web Key Set (what it serves at ``jwks_uri``); put a new one in its place and it is read at the next request.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any, cast

from joserfc import errors as jose
from joserfc import jwt
from joserfc.jwk import KeySet

from api.access import Credential
from api.problems import Challenged
from api.settings import OIDC_ROLES, OidcSettings
from gis.errors import ConfigError, Forbidden
from layers.access import Principal, RoleName

__all__ = ["Tokens"]

#: Signatures by private keys only: ``none`` and shared secrets are never taken.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
_LONGEST = 16_000


def _refused(en: str, zh: str) -> Challenged:
    return Challenged(f"The token is not accepted: {en}.", zh=f"令牌无效：{zh}。", invalid_token=True)


class Tokens:
    """Checks tokens.

    Raises
    ------
    ConfigError
        The settings are incomplete, or the key file cannot be read.
    """

    def __init__(self, settings: OidcSettings) -> None:
        if not (settings.issuer and settings.audience and settings.jwks_file and settings.role_map):
            raise ConfigError(
                "BAIGE_OIDC_: issuer, audience, jwks_file and role_map belong together.",
                zh="BAIGE_OIDC_：issuer、audience、jwks_file 和 role_map 须一并设置。",
            )
        self.settings = settings
        self._keys: KeySet | None = None
        self._read: tuple[int, int] = (0, 0)
        self._load()

    @classmethod
    def configured(cls, settings: OidcSettings) -> "Tokens | None":
        """As the settings say; None where no provider is named."""
        return cls(settings) if settings.issuer or settings.jwks_file else None

    def _load(self) -> KeySet:
        path = cast(Path, self.settings.jwks_file)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._keys is None or stamp != self._read:
                self._keys = KeySet.import_key_set(json.loads(path.read_text(encoding="utf-8")))
                self._read = stamp
        except (OSError, ValueError, KeyError, TypeError, jose.JoseError) as error:
            raise ConfigError(
                f"The provider's keys ({path.name}) cannot be read.", zh=f"无法读取身份提供方的公钥文件（{path.name}）。"
            ) from error
        return self._keys

    def credential(self, text: str) -> Credential:
        """What a token stands for.

        Raises
        ------
        Challenged
            It is not a token of the provider for us, or not valid now; the message says which.
        Forbidden
            It is, but its holder has no role or district here.
        """
        claims = self._claims(text)
        role = self._role(claims)
        subject = hashlib.sha256(f"{claims['iss']}|{claims['sub']}".encode()).hexdigest()[:16]
        # the provider's name of a person does not enter our tables, only what tells holders apart
        who = Principal(role, self._district(claims, role), f"oidc:{subject}")
        return Credential(who, float(claims["exp"]) + self.settings.leeway_s, self.settings.issuer)

    def _claims(self, text: str) -> dict[str, Any]:
        settings = self.settings
        if len(text) > _LONGEST:
            raise _refused("it is too long", "过长")
        try:
            token = jwt.decode(text, self._load(), algorithms=_ALGORITHMS)
            registry = jwt.JWTClaimsRegistry(
                leeway=settings.leeway_s,
                iss={"essential": True, "value": settings.issuer},
                aud={"essential": True, "value": settings.audience},
                exp={"essential": True},
                sub={"essential": True},
            )
            registry.validate(token.claims)
        except jose.ExpiredTokenError as error:
            raise _refused("it has expired", "已过期") from error
        except jose.MissingClaimError as error:
            raise _refused(f"the claim {error.claim!r} is missing", f"缺少声明 {error.claim!r}") from error
        except (jose.InvalidClaimError, jose.InvalidTokenError) as error:
            claim = str(getattr(error, "claim", "nbf"))
            said = {"aud": ("it is for another audience", "受众不符"), "iss": ("it is of another issuer", "签发方不符")}
            raise _refused(*said.get(claim, (f"the claim {claim!r} does not hold (yet)", f"声明 {claim!r} 不成立"))) from error
        except (jose.InvalidKeyIdError, jose.MissingKeyError) as error:
            raise _refused("its key (kid) is not one of the provider's", "密钥标识（kid）未知") from error
        except (jose.UnsupportedAlgorithmError, jose.UnsupportedKeyAlgorithmError, jose.ConflictAlgorithmError, jose.InvalidKeyTypeError) as error:
            raise _refused("its algorithm is not allowed", "签名算法不被允许") from error
        except jose.BadSignatureError as error:
            raise _refused("its signature is wrong", "签名错误") from error
        except (jose.JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _refused("it is malformed", "格式错误") from error
        claims = token.claims
        if not isinstance(claims.get("exp"), int | float) or claims["exp"] > time.time() + 31_536_000 or not isinstance(claims.get("sub"), str):
            raise _refused("'exp' or 'sub' is not as it should be", "exp 或 sub 不合规")
        return dict(claims)

    def _role(self, claims: dict[str, Any]) -> RoleName:
        value: Any = claims
        for part in self.settings.role_claim.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        values = value if isinstance(value, list) else [value]
        roles = {self.settings.role_map[v] for v in values if isinstance(v, str) and v in self.settings.role_map}
        if not roles:
            raise Forbidden("The token's holder has no role here.", zh="该令牌的持有者在本平台没有角色。")
        return cast(RoleName, max(roles, key=OIDC_ROLES.index))

    def _district(self, claims: dict[str, Any], role: str) -> str:
        name = self.settings.district_claim
        if not name or role == "admin":
            return ""
        value = claims.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str) or not value.isascii() or not value.isdigit() or not 2 <= len(value) <= 12:
            raise Forbidden(
                f"The token's claim {name!r} names no district (2 to 12 digits).", zh=f"令牌声明 {name!r} 不是行政区划代码（2 至 12 位数字）。"
            )
        return value
