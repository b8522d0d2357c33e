"""The lab's network, its load, and the observer on the wire."""
