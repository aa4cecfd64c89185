"""Tensors on disk, manifests, leases and atomic writes."""
