"""Pure decisions about one pair of nodes: which generation to send with, which to keep, when to probe."""
