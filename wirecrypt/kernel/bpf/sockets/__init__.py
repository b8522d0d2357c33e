"""Programs at sockets: who is heard, before anything is read."""
