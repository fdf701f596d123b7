"""The numbers that a setting or a class attribute may have."""

from dataclasses import dataclass
from datetime import timedelta

UNITS = ("seconds", "bytes", "rows")


@dataclass(frozen=True)
class NumberRule:
    """Accept numbers of at least `minimum`, and None if `none_means` says what None stands for.

    A bool is not a number here, although Python makes it an int.
    """

    names: tuple[str, ...]
    minimum: int
    id: str
    whole: bool = False
    none_means: str = ""

    def accepts(self, value: object) -> bool:
        if value is None:
            return bool(self.none_means)
        kind = int if self.whole else (int, float)
        return isinstance(value, kind) and not isinstance(value, bool) and value >= self.minimum

    def hint(self, name: str, value: object) -> str:
        """Return what to set in place of `value`, in the unit that the name ends with."""
        unit = next((f" of {unit}" for unit in UNITS if name.lower().endswith(unit)), "")
        number = f"a whole number{unit}" if self.whole else f"a number{unit}"
        none = f", or None for {self.none_means}" if self.none_means else ""
        example = f" {value!r} is {value.total_seconds():g}." if isinstance(value, timedelta) else ""
        return f"Set {number} from {self.minimum} on{none}.{example}"
