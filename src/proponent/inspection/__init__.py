"""Reports on results and runs: provenance, verification, status, costs, archives."""
