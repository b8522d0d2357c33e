"""Values of the domain, frozen and without behaviour that reaches outside.

Nothing here imports anything of wirecrypt but errors.
"""
