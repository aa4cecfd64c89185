"""Tensors on disk, manifests, atomic writes."""
