"""Methods that compare the gradients of a query and of a training example."""
