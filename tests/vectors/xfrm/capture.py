"""Make the golden vectors of XFRM again: `capture.py requests` (strace) or `capture.py answers` (in a guest), as root.

Requests are the datagrams that iproute2 sends, taken from strace in an empty network namespace: they are sent also where
the kernel refuses them. Answers are what the running kernel lists after iproute2's commands.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
KEY = "0x" + bytes(range(36)).hex()  # a test pattern
GCM = f"aead rfc4106(gcm(aes)) {KEY} 128"
CHACHA = f"aead rfc7539esp(chacha20,poly1305) {KEY} 128"
OURS = "replay-window 4096 flag esn flag af-unspec"
V4 = "src 192.0.2.11 dst 192.0.2.12 proto esp spi 0x04100010"
V6 = "src fd00:2::11 dst fd00:2::12 proto esp spi 0x04100011"
ALL = "reqid 0x04100010 mode tunnel"
MARK = "output-mark 0x08000000 mask 0x0ff00000"
LIMITS = "limit byte-soft 1000 limit byte-hard 2000 limit packet-soft 30 limit packet-hard 40"
POD = "mark 0x01000000 mask 0x0ff00000"
TMPL = f"tmpl {V4} {ALL}"
TMPL6 = f"tmpl {V6} {ALL}"
FROM = "src 0.0.0.0/0 dst 10.2.0.0/24"
FROM6 = "src fd00:11::/64 dst fd00:12::/64"

REQUESTS = {
    "sa-add-v4-gcm": f"state add {V4} {ALL} {GCM} {OURS}",
    "sa-add-v6-chacha": f"state add {V6} {ALL} {CHACHA} {OURS}",
    "sa-add-mark": f"state add {V4} {ALL} {GCM} {OURS} {MARK}",
    "sa-add-limits": f"state add {V6} {ALL} {CHACHA} {OURS} {LIMITS}",
    "sa-update": f"state update {V4} {ALL} {CHACHA} {OURS} {MARK}",
    "sa-delete-v4": "state delete dst 192.0.2.12 proto esp spi 0x04100010",
    "sa-delete-v6": "state delete dst fd00:2::12 proto esp spi 0x04100011",
    "sa-get-v4": "state get dst 192.0.2.12 proto esp spi 0x04100010",
    "sa-get-v6": "state get dst fd00:2::12 proto esp spi 0x04100011",
    "sa-dump": "state list",
    "policy-add-out": f"policy add dir out {FROM} priority 22300 {TMPL}",
    "policy-update-out-mark": f"policy update dir out {FROM} {POD} priority 22300 {TMPL}",
    "policy-update-out-mixed": f"policy update dir out {FROM6} priority 22300 {TMPL}",
    "policy-update-out-4in6": f"policy update dir out {FROM} priority 22300 {TMPL6}",
    "policy-update-block": f"policy update dir out {FROM} priority 22300 action block {TMPL}",
    "policy-update-bare-block": f"policy update dir out {FROM6} priority 22300 action block",
    "policy-update-in-use": f"policy update dir in {FROM6} priority 22300 tmpl src 192.0.2.11 dst 192.0.2.12 "
    "proto esp mode tunnel level use",
    "policy-update-fwd": f"policy update dir fwd {FROM6} priority 22300 {TMPL6}",
    "policy-update-control": "policy update dir out src 192.0.2.12/32 dst 192.0.2.11/32 proto udp dport 4790 "
    f"{POD} priority 22288 {TMPL}",
    "policy-delete": f"policy delete dir out {FROM}",
    "policy-delete-mark": f"policy delete dir in {FROM6} {POD}",
    "policy-get": f"policy get dir out {FROM}",
    "policy-get-mark": f"policy get dir fwd {FROM6} {POD}",
    "policy-dump": "policy list",
    "thresholds-set": "policy set hthresh4 0 24 hthresh6 0 64",
    "thresholds-get": "policy count",
}

ANSWERS = {
    "sa-v4-gcm-mark": f"state add {V4} {ALL} {GCM} {OURS} {MARK}",
    "sa-v6-chacha-limits": f"state add {V6} {ALL} {CHACHA} {OURS} {LIMITS}",
    "sa-foreign-ah": f"state add {V4.replace('esp', 'ah')} mode tunnel auth-trunc hmac(sha256) {KEY} 96",
    "sa-foreign-transport": f"state add {V4} mode transport {GCM} replay-window 4096 flag esn",
    "sa-foreign-cbc": f"state add {V4} {ALL} enc cbc(aes) {KEY[:34]} auth-trunc hmac(sha256) {KEY} 96 {OURS}",
    "sa-foreign-encap": f"state add {V4} {ALL} {GCM} {OURS} encap espinudp 4500 4500 0.0.0.0",
    "sa-foreign-if-id": f"state add {V4} {ALL} {GCM} {OURS} if_id 7",
    "sa-foreign-extra-flag": f"state add {V4} {ALL} {GCM} {OURS} extra-flag dont-encap-dscp",
    "sa-foreign-flags": f"state add {V4} {ALL} {GCM} {OURS} flag nopmtudisc",
    "sa-foreign-no-esn": f"state add {V4} {ALL} {GCM} flag af-unspec",
    "sa-foreign-time": f"state add {V4} {ALL} {GCM} {OURS} limit time-hard 1000",
    "sa-foreign-selector": f"state add {V4} {ALL} {GCM} {OURS} sel src 10.1.0.0/24 dst 10.2.0.0/24",
    "sa-foreign-icv": f"state add {V4} {ALL} aead rfc4106(gcm(aes)) {KEY} 96 {OURS}",
    "sa-foreign-short-key": f"state add {V4} {ALL} aead rfc4106(gcm(aes)) {KEY[:42]} 128 {OURS}",
    "sa-foreign-mark": f"state add {V4} {ALL} {GCM} {OURS} mark 1 mask 1",
    "policy-out-mark": f"policy add dir out {FROM} {POD} priority 22300 {TMPL}",
    "policy-in-use": f"policy add dir in {FROM6} priority 22300 tmpl src 192.0.2.11 dst 192.0.2.12 "
    "proto esp mode tunnel level use",
    "policy-fwd-6in6": f"policy add dir fwd {FROM6} priority 22300 {TMPL6}",
    "policy-block": f"policy add dir out {FROM} priority 22300 action block {TMPL}",
    "policy-foreign-transport": f"policy add dir out {FROM} tmpl proto esp mode transport",
    "policy-foreign-ah": f"policy add dir out {FROM} tmpl src 192.0.2.11 dst 192.0.2.12 proto ah mode tunnel",
    "policy-foreign-if-id": f"policy add dir out {FROM} {TMPL} if_id 7",
    "policy-foreign-link": f"policy add dir out {FROM} dev lo {TMPL}",
    "policy-foreign-limit": f"policy add dir out {FROM} {TMPL} limit time-hard 1000",
    "policy-foreign-flag": f"policy add dir out {FROM} flag icmp {TMPL}",
}


def words(line: str) -> list[str]:
    return ["ip", "xfrm", *shlex.split(line.replace("(", "'('").replace(")", "')'"))]


def request(line: str) -> str:
    """Return the first datagram that the command sends, in hex."""
    with tempfile.NamedTemporaryFile() as log:
        trace = ["strace", "-e", "trace=sendmsg,sendto", "-e", "write=all", "-o", log.name]
        subprocess.run(["unshare", "-n", *trace, *words(line)], capture_output=True, check=False)
        text = Path(log.name).read_text()
    first = re.split(r"^send(?:msg|to)\(", text, flags=re.MULTILINE)[1]
    return "".join(re.findall(r"^ \| [0-9a-f]{5}  (.{49}) ", first, flags=re.MULTILINE)).replace(" ", "")


def answer(name: str, line: str) -> str:
    """Run the command in an empty network namespace and return what the kernel lists then, in hex ("": it refused)."""
    what = "sa" if name.startswith("sa-") else "policy"
    code = f"""
from wirecrypt.kernel.xfrm import {what} as codec
from wirecrypt.kernel.xfrm.netlink import Channel
with Channel(6) as channel:
    print(channel.dump(codec.dump())[0].hex())
"""
    subprocess.run(["ip", "netns", "add", "wcgold"], check=True)
    try:
        if subprocess.run(["ip", "netns", "exec", "wcgold", *words(line)], check=False).returncode:
            return ""
        inside = ["ip", "netns", "exec", "wcgold", sys.executable, "-c", code]
        return subprocess.run(inside, check=True, capture_output=True, text=True).stdout.strip()
    finally:
        subprocess.run(["ip", "netns", "del", "wcgold"], check=True)


def main(what: str) -> None:
    if what == "requests":
        version = subprocess.run(["ip", "-V"], capture_output=True, text=True, check=True).stdout.split(", ")[1]
        found = [{"name": n, "command": shlex.join(words(c)), "hex": request(c)} for n, c in REQUESTS.items()]
        path, source = HERE / "requests.json", version.strip()
    else:
        source = platform.release().split("-")[0]
        found = [{"name": n, "command": shlex.join(words(c)), "hex": answer(n, c)} for n, c in ANSWERS.items()]
        path = HERE / f"answers-{'.'.join(source.split('.')[:2])}.json"
    path.write_text(json.dumps({"source": source, "vectors": [v for v in found if v["hex"]]}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
