"""A run from names to a folder, and what can be done with the folder."""
