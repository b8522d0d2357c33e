"""Who may have which prefix and address: decisions about what nodes claim, from values alone.

May live here: what a claim is, what the configuration and a person allow of it, and who gets it. No I/O, no time.
"""
