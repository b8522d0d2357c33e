"""The agent's loop.

Reads the cluster and the kernel, decides with plan and rotation, writes the difference.
"""
