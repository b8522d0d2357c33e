"""The lab's kubelets: pods, volumes, the API server's client."""
