"""What methods need from a model: gradients, their inner products, curvature, representations."""
