"""What a pass sees: the cluster, the peers, the inputs of each pair's decision, the settings in force."""
