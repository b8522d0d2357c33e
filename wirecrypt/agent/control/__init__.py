"""Control datagrams with every peer, and probes on behalf of `verify`."""
