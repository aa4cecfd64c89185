"""Learned scores: models of the effect of training subsets, fitted to retrainings."""
