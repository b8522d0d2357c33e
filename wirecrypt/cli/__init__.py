"""Verbs for users and CI; the only place that wires adapters and loops together."""
