"""Which values a setting that is a number may have. A bool is none."""


def is_positive(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def is_at_least(least: float, number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number >= least
