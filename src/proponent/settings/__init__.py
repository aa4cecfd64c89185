"""What is attributed: datasets, models and tasks."""
