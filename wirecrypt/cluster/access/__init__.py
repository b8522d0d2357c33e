"""Who may ask agents: tokens for a person who asks, and the reviews by which an agent finds out. Nothing else lives here."""
