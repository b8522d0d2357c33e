"""Who may read the keys of a node, and whether the policies that say so are in force."""
