"""The rows of the benchmark, in the types that a database takes: random, but the same on every machine.

Ten columns in the order of `bench.rows.models.COLUMNS`. One note in 50 has a comma, a quote or a line break, one in
1,000 starts with "=". Datetimes ascend with the key, within about a minute; one owner in five is missing.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random

SEED = 20_240_229
BLOCK = 10_000
STEP = timedelta(seconds=37)
START = datetime(2019, 1, 1)
DAYS = tuple(date.fromordinal(date(2015, 1, 1).toordinal() + number).isoformat() for number in range(3_650))
GIVEN = ("Ada", "Zoë", "Łukasz", "Mary", "Ahmed", "José", "Ingrid", "Wei", "Olga", "Tom", "Aoife", "Kofi", "Rosa")
FAMILY = ("Lovelace", "Müller", "Nowak", "O'Brien", "Haddad", "García", "Berg", "Zhang", "Smith", "Mensah", "Ito")
VOCABULARY = (
    "late early cold warm heavy light paid open closed checked packed sent returned lost found urgent spare whole "
    "broken new used north south east west upper lower first last red green blue small large round flat plain"
)
WORDS = VOCABULARY.split()
BREAKS = ("{}, {}", 'the "{}" one, {}', "{}\n{}")
FORMULAS = ("=1+1", '=HYPERLINK("https://example.com","click")', "=A1<B1 & C1")

RawRow = tuple[int, str, str, str, float, int, str, str, str, int | None]


def blocks(rows: int) -> Iterator[list[RawRow]]:
    """Yield the first `rows` rows in blocks. Tables of different sizes begin with the same rows."""
    for first in range(1, rows + 1, BLOCK):
        yield block(first)[: rows - first + 1]


def block(first: int) -> list[RawRow]:
    """Return BLOCK rows, beginning with the key `first`."""
    random = Random(SEED + first)
    keys = range(first, first + BLOCK)
    columns = (keys, _names(random), _notes(random, keys), _amounts(random), _ratios(random), _actives(random))
    return list(zip(*columns, _days(random), _moments(random, keys), _attributes(random), _owners(random), strict=True))


def _names(random: Random) -> list[str]:
    given, family = random.choices(GIVEN, k=BLOCK), random.choices(FAMILY, k=BLOCK)
    return [f"{one} {other}" for one, other in zip(given, family, strict=True)]


def _notes(random: Random, keys: range) -> list[str]:
    words = [random.choices(WORDS, k=BLOCK) for _ in range(4)]
    notes = list(map(" ".join, zip(*words, strict=True)))
    for place in range(0, BLOCK, 50):
        notes[place] = BREAKS[place // 50 % 3].format(words[0][place], words[1][place])
    for place in range(25, BLOCK, 1_000):
        notes[place] = FORMULAS[place // 1_000 % 3]
    return notes


def _amounts(random: Random) -> list[str]:
    cents = [1 + int(share * 99_999_998) for share in _ratios(random)]
    return [f"{'-' if amount % 10 == 0 else ''}{amount // 100}.{amount % 100:02}" for amount in cents]


def _ratios(random: Random) -> list[float]:
    return [random.random() for _ in range(BLOCK)]


def _actives(random: Random) -> list[int]:
    return [int(share < 0.8) for share in _ratios(random)]


def _days(random: Random) -> list[str]:
    return random.choices(DAYS, k=BLOCK)


def _moments(random: Random, keys: range) -> list[str]:
    return [
        str(START + key * STEP + timedelta(microseconds=int(share * 60_000_000)))
        for key, share in zip(keys, _ratios(random), strict=True)
    ]


def _attributes(random: Random) -> list[str]:
    """Return JSON objects as both databases write them: keys by length, then by name."""
    sizes, colours = random.choices(range(1_000), k=BLOCK), random.choices(WORDS, k=BLOCK)
    tags, others = random.choices(WORDS, k=BLOCK), random.choices(WORDS, k=BLOCK)
    return [
        f'{{"size": {size}, "tags": ["{tag}", "{other}"], "colour": "{colour}"}}'
        for size, tag, other, colour in zip(sizes, tags, others, colours, strict=True)
    ]


def _owners(random: Random) -> list[int | None]:
    return [None if share < 0.2 else int(share * 50_000) for share in _ratios(random)]
