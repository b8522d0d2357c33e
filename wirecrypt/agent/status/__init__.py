"""The status of this node: built purely, written by one place."""
