"""Weight sharing: a supernet of a space, its training, and distributions over its networks."""
