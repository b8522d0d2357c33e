"""Find what is wrong: facts are gathered thinly, findings are decided purely.

May live here: `gather_*` (read, never write; a thing that cannot be read becomes a fact itself), facts as values, and
`inspect_*` from facts to findings. Nothing that repairs.
"""
