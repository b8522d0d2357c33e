"""What a node keeps over restarts: own sessions, ledger, node keys, the pairs on disk."""
