"""Verbs for people and CI; the only place that wires adapters and loops together."""
