"""CQL2 text (OGC 21-065r2, Annex B) read into the tree of CQL2 JSON.

The tree has these nodes: numbers, strings and booleans; ``{"property": name}``; ``{"op": name, "args": [...]}``; ``{"date": …}``,
``{"timestamp": …}``, ``{"interval": [a, b]}``; ``{"bbox": [...]}``; lists (arrays); and shapely geometries where JSON has GeoJSON objects.
"""

import re
from typing import Any

import shapely

from gis.errors import InputError, LimitExceeded

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "parse_text"]

#: Longest filter that is read, in characters, and deepest nesting.
MAX_LENGTH = 65_536
MAX_DEPTH = 64

_NAME_START = (
    ":A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1ffe\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<string>'(?:[^'\\]|''|\\.|\\)*')
    | (?P<quoted>"[^"]*")
    | (?P<name>[{_NAME_START}][{_NAME_START}.0-9\u0300-\u036f\u203f-\u2040]*)
    | (?P<op><=|>=|<>|[=<>+\-*/%^(),\[\]])
    )""",
    re.VERBOSE,
)
_COMPARISONS = {"=", "<>", "<", ">", "<=", ">="}
_GEOMETRIES = {
    "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION",
}  # fmt: skip
_ARRAY_FUNCTIONS = {"A_CONTAINS", "A_CONTAINEDBY", "A_EQUALS", "A_OVERLAPS"}
_RESERVED = {"AND", "OR", "NOT", "LIKE", "BETWEEN", "IN", "IS", "NULL", "DIV"}
_STRING_ESCAPE = re.compile(r"''|\\'")


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int, int]] = []
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise _fault(text, position, "not understood", "无法理解")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind), match.end(kind)))
            position = match.end()
        self.tokens.append(("end", "", len(text), len(text)))
        self.index = 0
        self.depth = 0
        self.in_arrays = False

    # -- tokens

    @property
    def kind(self) -> str:
        return self.tokens[self.index][0]

    @property
    def value(self) -> str:
        return self.tokens[self.index][1]

    def fault(self, en: str, zh: str) -> InputError:
        return _fault(self.text, self.tokens[self.index][2], en, zh)

    def is_op(self, *values: str) -> bool:
        return self.kind == "op" and self.value in values

    def is_word(self, *values: str) -> bool:
        return self.kind == "name" and self.value.upper() in values

    def advance(self) -> str:
        value = self.value
        self.index += 1
        return value

    def expect(self, value: str) -> None:
        if not self.is_op(value):
            raise self.fault(f"expected {value!r}", f"此处应为 {value!r}")
        self.index += 1

    def accept_word(self, word: str) -> bool:
        if self.is_word(word):
            self.index += 1
            return True
        return False

    # -- grammar

    def expression(self) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LimitExceeded(f"The filter is nested deeper than {MAX_DEPTH} levels.", zh=f"过滤条件嵌套超过 {MAX_DEPTH} 层。")
        terms = [self.conjunction()]
        while self.accept_word("OR"):
            terms.append(self.conjunction())
        self.depth -= 1
        return terms[0] if len(terms) == 1 else {"op": "or", "args": terms}

    def conjunction(self) -> Any:
        terms = [self.negation()]
        while self.accept_word("AND"):
            terms.append(self.negation())
        return terms[0] if len(terms) == 1 else {"op": "and", "args": terms}

    def negation(self) -> Any:
        count = 0
        while self.accept_word("NOT"):
            count += 1
        inner = self.comparison()
        return {"op": "not", "args": [inner]} if count % 2 else inner

    def comparison(self) -> Any:
        left = self.sum()
        if self.kind == "op" and self.value in _COMPARISONS:
            op = self.advance()
            return {"op": op, "args": [left, self.sum()]}
        if self.accept_word("IS"):
            negated = self.accept_word("NOT")
            if not self.accept_word("NULL"):
                raise self.fault("expected NULL", "此处应为 NULL")
            return _negate({"op": "isNull", "args": [left]}, negated)
        negated = False
        if self.is_word("NOT") and self.tokens[self.index + 1][1].upper() in ("LIKE", "IN", "BETWEEN"):
            self.index += 1
            negated = True
        if self.accept_word("LIKE"):
            return _negate({"op": "like", "args": [left, self.sum()]}, negated)
        if self.accept_word("BETWEEN"):
            low = self.sum()
            if not self.accept_word("AND"):
                raise self.fault("expected AND", "此处应为 AND")
            return _negate({"op": "between", "args": [left, low, self.sum()]}, negated)
        if self.accept_word("IN"):
            self.expect("(")
            values = self.sequence(")")
            return _negate({"op": "in", "args": [left, values]}, negated)
        return left

    def sum(self) -> Any:
        left = self.product()
        while self.is_op("+", "-"):
            op = self.advance()
            left = {"op": op, "args": [left, self.product()]}
        return left

    def product(self) -> Any:
        left = self.power()
        while self.is_op("*", "/", "%") or self.is_word("DIV"):
            op = self.advance().lower()
            left = {"op": op, "args": [left, self.power()]}
        return left

    def power(self) -> Any:
        sign = 1
        while self.is_op("+", "-"):
            sign = -sign if self.advance() == "-" else sign
        base = self.primary()
        if self.is_op("^"):
            self.advance()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise LimitExceeded(f"The filter is nested deeper than {MAX_DEPTH} levels.", zh=f"过滤条件嵌套超过 {MAX_DEPTH} 层。")
            base = {"op": "^", "args": [base, self.power()]}
            self.depth -= 1
        if sign > 0:
            return base
        if isinstance(base, int | float) and not isinstance(base, bool):
            return -base
        return {"op": "*", "args": [-1, base]}

    def sequence(self, closing: str) -> list[Any]:
        found: list[Any] = []
        if self.is_op(closing):
            self.index += 1
            return found
        while True:
            found.append(self.expression())
            if self.is_op(","):
                self.index += 1
                continue
            self.expect(closing)
            return found

    def primary(self) -> Any:
        kind, value = self.kind, self.value
        if kind == "number":
            self.index += 1
            return _number(value)
        if kind == "string":
            self.index += 1
            return _STRING_ESCAPE.sub("'", value[1:-1])
        if kind == "quoted":
            self.index += 1
            return {"property": value[1:-1]}
        if kind == "op" and value == "(":
            self.index += 1
            inner = self.sequence(")")
            # several values, or an argument of an array function: an array; else what the brackets hold together
            if len(inner) == 1 and not self.in_arrays:
                return inner[0]
            return inner
        if kind == "op" and value == "[":
            self.index += 1
            return self.sequence("]")
        if kind == "name":
            return self.named()
        raise self.fault("an expression was expected", "此处应为表达式")

    def named(self) -> Any:
        word = self.value.upper()
        follows = self.tokens[self.index + 1]
        if word in ("TRUE", "FALSE"):
            self.index += 1
            return word == "TRUE"
        if word in _GEOMETRIES and (follows[1] == "(" or follows[1].upper() in ("Z", "M", "ZM", "EMPTY")):
            return self.geometry()
        if word in _RESERVED:
            raise self.fault(f"{self.value} was not expected", f"此处不应出现 {self.value}")
        name = self.advance()
        if not self.is_op("("):
            return {"property": name}
        self.index += 1
        outer, self.in_arrays = self.in_arrays, word in _ARRAY_FUNCTIONS
        arguments = self.sequence(")")
        self.in_arrays = outer
        if word == "BBOX":
            return {"bbox": arguments}
        if word in ("DATE", "TIMESTAMP"):
            if len(arguments) != 1 or not isinstance(arguments[0], str):
                raise self.fault(f"{word} takes one character literal", f"{word} 需要一个字符串")
            return {word.lower(): arguments[0]}
        if word == "INTERVAL":
            return {"interval": arguments}
        return {"op": name.lower(), "args": arguments}

    def geometry(self) -> shapely.Geometry:
        start = self.tokens[self.index][2]
        nesting = 0
        while self.kind != "end":
            if self.is_op("("):
                nesting += 1
            elif self.is_op(")"):
                nesting -= 1
            empty = nesting == 0 and self.is_word("EMPTY")
            closed = nesting == 0 and (self.is_op(")") or empty)
            self.index += 1
            if closed:
                wkt = self.text[start : self.tokens[self.index - 1][3]]
                try:
                    return shapely.from_wkt(wkt)
                except shapely.errors.ShapelyError as error:
                    raise _fault(self.text, start, "not a valid WKT geometry", "不是有效的 WKT 几何") from error
        raise _fault(self.text, start, "the geometry is not closed", "几何未结束")


def _negate(node: dict[str, Any], negated: bool) -> dict[str, Any]:
    return {"op": "not", "args": [node]} if negated else node


def _number(text: str) -> int | float:
    if text.isdigit() and len(text) <= 18:
        return int(text)
    return float(text)


def _fault(text: str, position: int, en: str, zh: str) -> InputError:
    near = text[max(0, position - 20) : position + 20].strip()
    return InputError(
        f"Filter, character {position + 1}: {en}, near {near!r}.", zh=f"过滤条件第 {position + 1} 个字符处{zh}（{near!r} 附近）。"
    )


def parse_text(text: str) -> Any:
    """Read a CQL2 text filter.

    Raises
    ------
    InputError
        It is not CQL2; the message says where.
    LimitExceeded
        It is longer than `MAX_LENGTH` or nested deeper than `MAX_DEPTH`.

    Examples
    --------
    >>> parse_text("a = 1 AND NOT b LIKE 'x%'")["op"]
    'and'
    """
    if len(text) > MAX_LENGTH:
        raise LimitExceeded(f"The filter is longer than {MAX_LENGTH} characters.", zh=f"过滤条件超过 {MAX_LENGTH} 个字符。")
    if "\x00" in text:
        raise InputError("The filter contains a null character.", zh="过滤条件含有空字符。")
    parser = _Parser(text)
    tree = parser.expression()
    if parser.kind != "end":
        raise parser.fault(f"{parser.value!r} was not expected", f"此处不应出现 {parser.value!r}")
    return tree
