"""Pure state machines.

How a pair moves from key to key, how a cluster rotates. Time and messages are arguments.
"""
