"""The table of rules: what is asked, at what distance, by what source, from when to when."""

import tomllib
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gis.errors import ConfigError
from gis.settings import CityConfig

__all__ = ["Case", "Rule", "Side", "read_rules"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Frozen):
    """Features that a rule looks at: a layer, a CQL2 filter, and which of its geometries (the feature's own where that is missing)."""

    layer: str
    filter: str | None = None
    geometry: str | None = None


class Case(_Frozen):
    """A distance that holds where the CQL2 condition ``other`` on the other object does; without a condition, always."""

    other: str | None = None
    distance_m: float = Field(ge=0)


class Rule(_Frozen):
    """One rule, as a row of the table.

    Attributes
    ----------
    id : str
        Number of the rule, with a letter where its source makes several of one.
    verdict : str
        ``V`` violation or ``R`` needs review: what a finding beyond doubt is.
    measure : str
        How object and other are compared; see the head of ``rules.toml``.
    evidence : str
        ``L`` statute text, ``S`` secondary source, ``M`` from memory.
    note_zh, note_en : str, optional
        What of its subject another check finds, and which.
    """

    id: str = Field(pattern=r"^[0-9]+[a-z]?$")
    version: int = Field(ge=1)
    verdict: Literal["V", "R"]
    title_zh: str
    title_en: str
    object: Side
    other: Side | None = None
    measure: Literal["inside", "distance", "outside", "far", "attribute", "code"]
    function: str | None = None
    needs: tuple[str, ...] = ()
    unknown: str | None = None
    pairs: bool = False
    distance_m: float | None = Field(None, ge=0)
    distance_parameter: str | None = None
    distances: tuple[Case, ...] = ()
    other_half_width: str | None = None
    other_width: str | None = None
    source_zh: str
    source_en: str
    article: str = ""
    valid_from: date | None = None
    valid_to: date | None = None
    evidence: Literal["L", "S", "M"]
    note_zh: str | None = None
    note_en: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Rule":
        given = sum(x is not None for x in (self.distance_m, self.distance_parameter)) + bool(self.distances)
        if (self.measure in ("distance", "far")) != (given == 1):
            raise ValueError(f"rule {self.id}: measures 'distance' and 'far' need one distance, others have none")
        if self.measure in ("inside", "distance", "outside", "far") and self.other is None:
            raise ValueError(f"rule {self.id}: 'other' is missing")
        if (self.measure == "code") != (self.function is not None):
            raise ValueError(f"rule {self.id}: 'function' belongs to measure 'code'")
        return self

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that must have features for the rule to be evaluated."""
        sides = [self.object.layer, *([self.other.layer] if self.other else []), *self.needs]
        return tuple(dict.fromkeys(sides))

    def in_force(self, at: date) -> bool:
        """Whether the rule is in force on a day."""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at <= self.valid_to)

    def cases(self, city: CityConfig) -> tuple[Case, ...]:
        """The distances, those that the city sets filled in.

        Raises
        ------
        ConfigError
            The city file does not set a parameter that the rule needs.
        """
        if self.distances:
            return self.distances
        if self.distance_m is not None:
            return (Case(distance_m=self.distance_m),)
        if self.distance_parameter is None:
            return (Case(distance_m=0.0),)
        if self.distance_parameter not in city.rules:
            raise ConfigError(
                f"Rule {self.id} needs {self.distance_parameter!r} in [rules] of the city file.",
                zh=f"规则 {self.id} 需要城市文件 [rules] 中的 {self.distance_parameter!r}。",
            )
        return (Case(distance_m=city.rules[self.distance_parameter]),)


class _File(_Frozen):
    rule: tuple[Rule, ...]


def read_rules(path: Path | None = None) -> tuple[Rule, ...]:
    """The rules of a TOML file; without ``path`` those that come with Baige.

    Raises
    ------
    ConfigError
        The file cannot be read, or a rule is not as it must be (the message says which and why).
    """
    try:
        text = (
            path.read_text(encoding="utf-8")
            if path
            else resources.files("grids.rules").joinpath("rules.toml").read_text(encoding="utf-8")
        )
        rules = _File.model_validate(tomllib.loads(text)).rule
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The rules file cannot be read: {error}", zh=f"无法读取规则文件：{error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"Rules file: {faults}", zh=f"规则文件有误：{faults}") from error
    ids = [rule.id for rule in rules]
    if len(set(ids)) != len(ids):
        raise ConfigError("A rule id stands twice in the rules file.", zh="规则文件中有重复的规则编号。")
    return rules
