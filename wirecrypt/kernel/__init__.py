"""Adapters to the kernel.

XFRM, links, tc, eBPF. Only this package imports pyroute2 and bcc; KernelError is all that leaves it.
"""
