"""Attackers against a lab, and who judges them: what may live here plays or keeps the score, and changes nothing of ours.

`scoreboard` says what an attack is and what came of it, `ground` is what attackers and judge share, `packets` makes bytes,
`shapes` are packets that a pod might try, `*_attacks` are the attackers, `playing` runs them.
"""
