"""Pure decisions about kernel objects.

What a node should have, and the ordered difference to what it has. No I/O, no clock.
"""
