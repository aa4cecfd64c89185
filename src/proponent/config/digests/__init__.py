"""Digests: content keys of artefacts, of source code and of the distributions that it imports."""
