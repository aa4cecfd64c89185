"""Presentation of results: tables, figures and MLflow runs. Its functions take values and return text, figures or runs."""
