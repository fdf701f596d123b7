"""A site of real processes, what may happen to it, and the auditor who looks at it afterwards. See docs/storm.md."""
