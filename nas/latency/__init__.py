"""Latency tables: what they hold, what they predict, how far they are off."""
