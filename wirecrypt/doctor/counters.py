"""What each counter of /proc/net/xfrm_stat means and what to do: the words of `doctor` and the docs.

All counters of Linux 6.1 to 7.2 (net/xfrm/xfrm_proc.c; Documentation/networking/xfrm_proc.rst). Each counts dropped
packets since the network namespace was made, of all IPsec on the node, not only ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wirecrypt.model.conditions import Meaning

_MEMORY: Final = "look for memory pressure on the node (`dmesg`, `free`)"
_VERIFY: Final = "run `wirecrypt verify`: it names the pair and the cause"
_FOREIGN: Final = "our SAs do not use it: look for another IPsec program, `ip xfrm state` lists its SAs"
_REPORT: Final = "if it grows, report it with the kernel's version and the output of doctor"
_POLICY: Final = "run `wirecrypt verify` on both nodes: cleartext or the wrong SA was used; the guard's counters tell which"
_BLOCKED: Final = "normal for a pair without proved keys; if it grows while `wirecrypt status` is Ready, run `wirecrypt verify`"
_ROUTE: Final = "look at the routes to the node addresses and at the MTU of the uplink"

COUNTERS: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        "XfrmInError": Meaning("Packets that failed on the way in for a reason that no other counter has.", _REPORT),
        "XfrmInBufferError": Meaning("Packets came that there was no memory for.", _MEMORY),
        "XfrmInHdrError": Meaning("Packets came with a malformed header.", "capture ESP on the uplink: a middlebox changes it"),
        "XfrmInNoStates": Meaning(
            "ESP came for which there is no SA: an unknown SPI, or one that was deleted.",
            "`wirecrypt spi` tells the sender; a few after a reboot are packets under way, more: run `wirecrypt verify`",
        ),
        "XfrmInStateProtoError": Meaning(
            "ESP came that did not decrypt: the keys of both ends differ, or it was changed on its way.", _VERIFY
        ),
        "XfrmInStateModeError": Meaning("ESP came whose inside does not fit the SA's mode or address family.", _VERIFY),
        "XfrmInStateSeqError": Meaning(
            "ESP came twice or too late: outside the replay window of 4,096 packets.",
            "many: the network reorders widely, or somebody replays; few are duplicates of the network",
        ),
        "XfrmInStateExpired": Meaning(
            "ESP came for an SA that is past its hard limit.",
            "run `wirecrypt status NODE`: a new session should have come long before",
        ),
        "XfrmInStateMismatch": Meaning("ESP came in another encapsulation than the SA has.", _FOREIGN),
        "XfrmInStateInvalid": Meaning("ESP came for an SA that is not usable yet or any more.", _REPORT),
        "XfrmInTmplMismatch": Meaning(
            "Packets came in clear, or by the wrong SA, that must come encrypted: the kernel dropped them.", _POLICY
        ),
        "XfrmInNoPols": Meaning("Packets were decrypted that no policy speaks of.", _VERIFY),
        "XfrmInPolBlock": Meaning("Packets came that a policy blocks.", _BLOCKED),
        "XfrmInPolError": Meaning("Packets came whose policy could not be used.", _REPORT),
        "XfrmOutError": Meaning("Packets could not be sent for a reason that no other counter has.", _REPORT),
        "XfrmOutBundleGenError": Meaning("Packets were to be sent for which no chain of SAs could be built.", _ROUTE),
        "XfrmOutBundleCheckError": Meaning("Packets were to be sent over a chain of SAs that was no longer valid.", _REPORT),
        "XfrmOutNoStates": Meaning(
            "Packets were to be encrypted for which there is no SA: they were dropped, not sent in clear.", _VERIFY
        ),
        "XfrmOutStateProtoError": Meaning(
            "Packets could not be encrypted.", "look at `dmesg` for the cipher's driver, and run `wirecrypt doctor` on the node"
        ),
        "XfrmOutStateModeError": Meaning(
            "Packets did not fit the SA's mode: too large, most of the time, and their senders were told.",
            "one a connection and ten minutes: its kernel asks for the path's MTU again; "
            "more: look at the MTU in `wirecrypt status NODE` and of the CNI",
        ),
        "XfrmOutStateSeqError": Meaning(
            "An SA ran out of sequence numbers.", "ours have 64 bits and never do: look for another IPsec program"
        ),
        "XfrmOutStateExpired": Meaning(
            "Packets were to be sent over an SA that is past its hard limit: dropped, fail closed.",
            "run `wirecrypt status NODE`: the new session is not proved; `wirecrypt verify` says why",
        ),
        "XfrmOutPolBlock": Meaning("Packets were to be sent that a policy blocks.", _BLOCKED),
        "XfrmOutPolDead": Meaning("Packets met a policy that was just deleted.", "a few while policies change are normal"),
        "XfrmOutPolError": Meaning("Packets were to be sent whose policy could not be used.", _REPORT),
        "XfrmFwdHdrError": Meaning(
            "Packets to be forwarded could not be read.", "capture on the pods' bridge: something sends malformed packets"
        ),
        "XfrmOutStateInvalid": Meaning("Packets were to be sent over an SA that is not usable yet or any more.", _REPORT),
        "XfrmAcquireError": Meaning("Packets wanted an SA that was still being negotiated.", _FOREIGN),
        "XfrmInStateDirError": Meaning("ESP came for an SA that is marked for sending (kernel 6.10 and newer).", _FOREIGN),
        "XfrmOutStateDirError": Meaning(
            "Packets were to be sent over an SA that is marked for receiving (kernel 6.10 and newer).", _FOREIGN
        ),
        "XfrmInIptfsError": Meaning("IP-TFS packets came that could not be taken apart (kernel 6.14 and newer).", _FOREIGN),
        "XfrmOutNoQueueSpace": Meaning("The queue of an IP-TFS SA was full (kernel 6.14 and newer).", _FOREIGN),
    }
)
