"""Loaders and bookkeeping that several steps share."""
