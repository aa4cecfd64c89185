"""One module per rule file: read artefacts, call one stage, write artefacts."""
