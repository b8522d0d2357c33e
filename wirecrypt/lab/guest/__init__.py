"""Programs that run inside the lab's guest, on the distribution's Python and the standard library alone: they start fast."""
