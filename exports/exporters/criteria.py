"""The criteria of a form that is not filled in yet."""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn


class UndecidedYet(Exception):
    """Raised where a rule or a hook asks for criteria when there are none yet."""


class NoCriteriaYet(Mapping[str, Any]):
    """The criteria of a form that is not filled in: what looks at them is undecided."""

    def __getitem__(self, name: str) -> NoReturn:
        raise UndecidedYet

    def __iter__(self) -> Iterator[str]:
        raise UndecidedYet

    def __len__(self) -> NoReturn:
        raise UndecidedYet
