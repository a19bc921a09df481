"""What a run leaves on disk: its identity, the journal of its trials, ledgers that only grow."""
