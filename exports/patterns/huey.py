"""Import path of the patterns that run in the project's own huey task."""

from exports.contrib.bgfiles.huey import ScheduleWithHueyMixin, ScheduleWithHueyPattern

__all__ = ["ScheduleWithHueyMixin", "ScheduleWithHueyPattern"]
