"""What a pass does, a step a module: each decides whether it has to, and writes only a difference."""
