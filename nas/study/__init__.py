"""The loop that asks, evaluates and tells, and who evaluates for it."""
