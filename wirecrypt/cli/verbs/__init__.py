"""The verbs of the command line, a module each, or for a few that belong together."""
