"""Self-check of a setting: its model, its data and what its methods need are tried before anything is trained."""
