"""A clock for commands on which sleeping takes no time."""


class FakeTime:
    """The functions of the module `time` that the app's commands use."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
