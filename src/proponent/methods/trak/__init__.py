"""TRAK: a linearised model, averaged over independently trained members."""
