"""Models that were trained elsewhere: their parameters, their features and the methods that can run on them."""
