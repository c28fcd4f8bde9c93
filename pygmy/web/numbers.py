"""Money from a JSON number, exactly: floats never touch it on the way in."""

from decimal import Decimal, InvalidOperation
from typing import Any

HIGHEST_COST = 1_000_000
_CENT = Decimal("0.01")


class Money(int):
    """Cents, read from a JSON number of 0..1,000,000 with at most two decimals."""

    @classmethod
    def from_json(cls, number: object) -> "Money":
        """From an int or an exact Decimal. ValueError says what was expected."""
        expected = ValueError(f"Expected a number of 0..{HIGHEST_COST} with at most two decimals")
        if isinstance(number, bool) or not isinstance(number, int | Decimal):
            raise expected
        # Range first: quantize() of a number with too many digits would fail.
        if not 0 <= number <= HIGHEST_COST or (cents := Decimal(number).quantize(_CENT)) != number:
            raise expected
        return cls(int(cents.scaleb(2)))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """What OpenAPI says about it."""
        return {"type": "number", "minimum": 0, "maximum": HIGHEST_COST, "multipleOf": 0.01}


def exact(text: str) -> Decimal:
    """A JSON number with every digit it had; infinite if its exponent is beyond all reason."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def from_number(type: type[Any], value: Any) -> Any:
    """msgspec's `dec_hook`: the types with a `from_json` of their own."""
    return type.from_json(value)


def schema_of(type: type[Any]) -> dict[str, Any]:
    """msgspec's `schema_hook`."""
    found: dict[str, Any] = type.json_schema()
    return found
