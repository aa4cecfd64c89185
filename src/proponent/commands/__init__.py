"""Subcommands that are not steps, one module per family; what a command needs is imported when it runs."""
