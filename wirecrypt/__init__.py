"""wirecrypt: all pod traffic between Kubernetes nodes, encrypted with the kernel's own IPsec."""

__version__ = "0.1.0"
