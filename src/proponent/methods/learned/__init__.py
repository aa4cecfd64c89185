"""Methods that learn scores from retrainings."""
