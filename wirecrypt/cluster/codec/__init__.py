"""Objects of the API server as values, and values as objects: strict in, exact out."""
