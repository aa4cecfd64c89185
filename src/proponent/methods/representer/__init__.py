"""Representer methods: the last layer as a kernel machine over training examples."""
