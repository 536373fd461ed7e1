"""Errors as RFC 7807 problem documents, in the asker's language."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from api.errors import http_status
from gis import errors

__all__ = ["Challenged", "Invalid", "TooMany", "problem", "problem_of"]

log = logging.getLogger("baige.api")

_TITLES = {
    400: ("Invalid request", "请求无效"), 401: ("Not authenticated", "未认证"), 403: ("Not allowed", "无权访问"),
    404: ("Not found", "未找到"), 405: ("Method not allowed", "不支持的方法"), 406: ("Not acceptable", "不支持的格式"),
    409: ("Conflict", "冲突"), 412: ("Precondition failed", "前提不符"), 413: ("Too large", "超出上限"), 414: ("URI too long", "网址过长"),
    415: ("Unsupported media type", "不支持的媒体类型"), 422: ("Invalid content", "内容无效"), 428: ("Precondition required", "需要前提条件"),
    429: ("Too many requests", "请求过多"),
    500: ("Server error", "服务器错误"), 501: ("Not implemented", "未实现"), 503: ("Not available now", "暂不可用"),
}  # fmt: skip


class Invalid(errors.InputError):
    """Content that breaks the schema: ``faults`` says where and why, each with ``path``, ``en`` and ``zh``."""

    def __init__(self, message: str, *, zh: str, faults: list[dict[str, str]]) -> None:
        super().__init__(message, zh=zh)
        self.faults = faults


class Challenged(errors.Unauthorized):
    """A key, token or session that does not hold.

    Attributes
    ----------
    invalid_token : bool
        It was a provider's token (RFC 6750, 3.1).
    forget : str
        Cookie that the browser is to forget; empty for none.
    """

    def __init__(self, message: str, *, zh: str, invalid_token: bool = False, forget: str = "") -> None:
        super().__init__(message, zh=zh)
        self.invalid_token = invalid_token
        self.forget = forget


class TooMany(errors.Forbidden):
    """More requests of a key than its rate allows: 429, and when the next may come."""

    def __init__(self, *, wait_s: float, limit: int, window_s: float, day: bool = False) -> None:
        seconds = max(1, math.ceil(wait_s))
        if day:
            en, zh = f"This key has made its {limit} requests of today; the next day begins in {seconds} s.", f"此密钥今日的 {limit} 次请求已用完"
            super().__init__(en, zh=f"{zh}，请在 {seconds} 秒后重试。")
        else:
            super().__init__(f"Too many requests of this key; wait {seconds} s.", zh=f"此密钥请求过多，请在 {seconds} 秒后重试。")
        self.headers = {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"key";q={limit};w={max(1, math.ceil(window_s))}',
            "RateLimit": f'"key";r=0;t={seconds}',
        }


def problem(
    status: int, detail: str, *, lang: str = "en", instance: str = "", extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """A problem document."""
    titles = _TITLES.get(status, ("Error", "错误"))
    body: dict[str, Any] = {"type": "about:blank", "title": titles[lang.startswith("zh")], "status": status, "detail": detail}
    if instance:
        body["instance"] = instance[:500]
    body.update(extra or {})
    sent = {"Content-Language": "zh" if lang.startswith("zh") else "en", "Cache-Control": "no-store", **(headers or {})}
    if status == 503:
        sent.setdefault("Retry-After", "5")
    if status == 401:
        sent.setdefault("WWW-Authenticate", 'Basic realm="Baige", charset="UTF-8"')
    return Response(orjson.dumps(body), status, headers=sent, media_type="application/problem+json")


def problem_of(error: errors.BaigeError, *, lang: str, instance: str = "", script: bool = False) -> Response:
    """The problem document of one of our errors; ``script`` where a page's script asked, which must not make the browser ask for a password."""
    status = 422 if isinstance(error, Invalid) else 429 if isinstance(error, TooMany) else http_status(error)
    if status >= 500:
        log.warning("%s: %s", type(error).__name__, error.message, exc_info=error.__cause__)
    extra = None
    if isinstance(error, Invalid):
        key = "zh" if lang.startswith("zh") else "en"
        extra = {"errors": [{"path": fault["path"], "reason": fault[key]} for fault in error.faults]}
    headers = dict(error.headers) if isinstance(error, TooMany) else {}
    if status == 401 and isinstance(error, Challenged) and error.invalid_token:
        headers["WWW-Authenticate"] = 'Bearer realm="Baige", error="invalid_token"'
    elif status == 401 and script:
        headers["WWW-Authenticate"] = 'Bearer realm="Baige"'
    if isinstance(error, Challenged) and error.forget:
        headers["Set-Cookie"] = f"{error.forget}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    return problem(status, error.text(lang), lang=lang, instance=instance, extra=extra, headers=headers)
