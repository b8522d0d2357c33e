"""Judging facts about both ends of pairs: protected, joining, broken with the cause named, unknown.

May live here: pure functions from the agents' facts to verdicts. Nothing that asks an agent, and nothing that prints.
"""

from wirecrypt.verify.judge import judge
from wirecrypt.verify.keytable import KeyRow, audit
from wirecrypt.verify.verdict import Cause, CauseKind, Silent, Standing, Unasked, Verdict

__all__ = ["Cause", "CauseKind", "KeyRow", "Silent", "Standing", "Unasked", "Verdict", "audit", "judge"]
