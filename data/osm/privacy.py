"""Tags that may describe a person: dropped as they are read, and named in the report."""

import re
from functools import lru_cache

__all__ = ["is_personal", "organisation"]

_PERSONAL_KEYS = re.compile(
    r"(?:^|:)(?:contact|phone|mobile|fax|email|e-mail|whatsapp|wechat|weixin|qq|telegram|facebook|instagram|twitter|linkedin|vk|"
    r"password|login|user|username|ip|ip_address|mac|url|webcam|image|wikimedia_commons|architect|artist_name|subject|"
    r"inscription|note|fixme|description|comment|person|contact_person|manager|owner:name|caretaker)(?:$|:)"
)
_ORGANISATION_TYPES = frozenset({
    "government", "public", "company", "business", "private_company", "corporation", "community", "ngo", "charity", "religious",
    "university", "cooperative", "association", "school", "municipality", "state", "military", "police",
})  # fmt: skip
_PERSON_TYPES = frozenset({"person", "individual", "private_person", "natural_person", "private"})
_ORGANISATION_WORDS = re.compile(
    r"局|公司|集团|委员会|委|处|政府|中心|学校|大学|中学|小学|医院|银行|酒店|商场|厂|所|队|部|站|院|社区|街道|管理|物业|超市|"
    r"\b(?:ltd|limited|inc|llc|plc|gmbh|ag|s\.?a\.?|sarl|s\.?r\.?l|b\.?v|co|corp|corporation|company|group|bank|hotel|school|college|"
    r"university|universit[ée]|hospital|h[oô]pital|council|city|town|county|ville|mairie|commune|pr[ée]fecture|police|gendarmerie|"
    r"polizei|ministry|minist[èe]re|department|d[ée]partement|direction|service|services|authority|agency|office|government|"
    r"gouvernement|principaut[ée]|municipal(?:ity|it[ée])?|railways?|sncf|transport|port|airport|stadt|gemeinde|soci[ée]t[ée]|association)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=8192)
def is_personal(key: str) -> bool:
    """Whether the tag ``key`` may hold a person's name, number, address in a network or likeness, or free text that may.

    Examples
    --------
    >>> is_personal("contact:phone"), is_personal("operator:email"), is_personal("camera:direction"), is_personal("name")
    (True, True, False, False)
    """
    return _PERSONAL_KEYS.search(key) is not None


def organisation(tags: dict[str, str]) -> tuple[str | None, bool]:
    """The organisation that runs a thing, from ``operator``; and whether an operator was left out since it may be a person.

    It counts as an organisation if ``operator:type`` says so, if it has a ``operator:wikidata`` entry, or if its name says so.

    Examples
    --------
    >>> organisation({"operator": "宜昌市公安局"}), organisation({"operator": "Jean Martin"})
    (('宜昌市公安局', False), (None, True))
    """
    name = tags.get("operator", "").strip()
    if not name:
        return None, False
    kind = tags.get("operator:type", "").strip().lower()
    if kind in _PERSON_TYPES:
        return None, True
    if kind in _ORGANISATION_TYPES or "operator:wikidata" in tags or _ORGANISATION_WORDS.search(name):
        return name[:200], False
    return None, True
