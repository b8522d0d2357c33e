"""Adapter to the API server.

Only this package imports kubernetes; ClusterError and ObjectError are all that leave it.
"""
