"""Links, packet capture, control sockets."""
