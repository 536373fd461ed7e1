"""Personal columns and values: what stays outside. The platform holds places and things, never persons.

Inventories of cameras carry contacts, logins and addresses of networks; their columns are known by their headers, in both languages,
and dropped before anything else sees them. In free text, values that hold a phone number, an identity number or a network address are blanked.
"""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layers.declaration import FieldDeclaration
from layers.loading.arrays import Mask, mask_of

__all__ = ["is_free_text", "is_personal_header", "personal_values"]

#: Anywhere in a header.
_CHINESE = (
    "联系人", "联系电话", "联系方式", "电话", "手机", "座机", "责任人", "负责人", "管理人员", "值班人", "法人代表", "法定代表人", "法人姓名",
    "身份证", "证件号", "姓名", "用户名", "用户名称", "登录", "登陆", "账号", "帐号", "账户", "口令", "密码", "邮箱",
    "电子邮件", "微信", "人脸", "人员卡口",
    "人员类型", "人员信息", "报警人", "举报人", "投诉人", "当事人", "上报人", "巡查人", "采样人", "检查人", "经办人",
    "填报人", "户主", "警号", "mac地址",
    "物理地址", "ip地址", "网络地址", "车牌",
)  # fmt: skip
#: A word of a header, whole.
_ENGLISH = frozenset({
    "contact", "contacts", "phone", "phones", "telephone", "tel", "mobile", "cellphone", "fax", "email", "mail", "login", "user", "username",
    "userid", "account", "password", "passwd", "pwd", "ip", "ipv4", "ipv6", "ipaddr", "ipaddress", "mac", "macaddr", "macaddress", "idcard",
    "face", "faces", "wechat", "qq", "surname", "firstname", "lastname",
})  # fmt: skip
#: Words of a header that stand together.
_PHRASES = (
    ("person", "in", "charge"), ("responsible", "person"), ("contact", "person"), ("id", "card"), ("identity", "number"), ("id", "number"),
    ("identity", "card"), ("first", "name"), ("last", "name"), ("person", "type"), ("person", "checkpoint"), ("person", "name"), ("user", "name"),
    ("legal", "representative"), ("license", "plate"), ("licence", "plate"), ("e", "mail"), ("officer", "name"), ("operator", "name"),
)  # fmt: skip

_PHONE = r"(^|[^0-9])(\+?86[- ]?)?1[3-9][0-9][- ]?[0-9]{4}[- ]?[0-9]{4}([^0-9]|$)"
_LANDLINE = r"(^|[^0-9])\(?0[1-9][0-9]{1,2}\)?[- ]?[2-9][0-9]{6,7}([^0-9]|$)"
_IDENTITY = r"(^|[^0-9])[1-9][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]([^0-9Xx]|$)"
_IPV4 = r"(^|[^0-9.])((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])([^0-9.]|$)"
_MAC = r"(^|[^0-9A-Fa-f:-])([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}([^0-9A-Fa-f:-]|$)"
_EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}"
_ANY = "|".join(f"({part})" for part in (_PHONE, _LANDLINE, _IDENTITY, _IPV4, _MAC, _EMAIL))
#: For an identifier of the source, which may well be eleven digits long.
_ANY_BUT_PHONE = "|".join(f"({part})" for part in (_IDENTITY, _IPV4, _MAC, _EMAIL))


def is_personal_header(header: str) -> bool:
    """Whether a column of this header holds personal or access data.

    Examples
    --------
    >>> [is_personal_header(h) for h in ("联系电话", "IP 地址", "contactPhone", "MAC", "管理单位", "责任主体", "zip", "description")]
    [True, True, True, True, False, False, False, False]
    """
    folded = unicodedata.normalize("NFKC", header)
    plain = re.sub(r"\s+", "", folded).casefold()
    if any(word in plain for word in _CHINESE):
        return True
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", folded)
    words = re.findall(r"[a-z0-9]+", split.casefold())
    if any(word in _ENGLISH for word in words):
        return True
    return any(words[i : i + len(phrase)] == list(phrase) for phrase in _PHRASES for i in range(len(words)))


def is_free_text(field: FieldDeclaration) -> bool:
    """Whether people write into this field what they like, so that its values are searched for personal data."""
    return field.type in ("text", "text[]") and field.pattern is None and field.name not in ("src_crs", "admin_code")


def personal_values(field: FieldDeclaration, text: pa.Array) -> Mask:
    """Rows of a text column whose value holds a phone or identity number, a network or mail address.

    Parameters
    ----------
    text : pyarrow.Array
        Of strings.
    """
    if text.null_count == len(text):
        return np.zeros(len(text), dtype=bool)
    folded = text if pc.all(pc.string_is_ascii(text)).as_py() in (True, None) else pc.utf8_normalize(text, form="NFKC")
    suspect = mask_of(pc.match_substring_regex(folded, "[0-9@]"))
    if not suspect.any():
        return suspect
    return mask_of(pc.match_substring_regex(folded, _ANY_BUT_PHONE if field.name == "source_ref" else _ANY))
