"""Latency tables of this machine, or of one that a command reaches."""
