"""The numbers that a setting or a class attribute may have."""

from dataclasses import dataclass


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

    @property
    def hint(self) -> str:
        """What to set instead, as a sentence."""
        number = "a whole number" if self.whole else "a number"
        return f"Set {number} from {self.minimum} on{f', or None for {self.none_means}' if self.none_means else ''}."
