"""A process on an enabled node without any rights (user nobody, no capability): it wants keys, or to disturb.

What root can do on its own node is not tried here: root of a node has that node's keys.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Final

from wirecrypt.lab.attack.ground import FAMILIES, FETCH, NOBODY, OWN, PEER, THIRD, Ground, Markers, moved
from wirecrypt.lab.attack.node_attacks import KEYS, SEEDS
from wirecrypt.lab.attack.pod_attacks import REFUSED
from wirecrypt.lab.attack.scoreboard import Attack, Outcome
from wirecrypt.lab.attack.shapes import CONTROL_PORT

HOST: Final = "host process without rights"
PAGES: Final = ("14580/metrics", "14582/healthz", "14581/metrics", "14583/healthz")  # open to everybody: agent, controller
GUARDED: Final = ("verify?seconds=1", "plan")  # for who has a token
SOCKET: Final = "/run/wirecrypt/agent.sock"
FLOOD: Final = 64  # clients of a page at once: more than the agent has places for
PLACES: Final = ("/run/wirecrypt", "/var/lib/wirecrypt", "/sys/fs/bpf")


def kernel_ipsec(ground: Ground) -> Outcome:
    """Read and flush the kernel's IPsec: refused; root sees the SAs. That nothing is gone is judged after every attack."""
    got = []
    for words in (["state"], ["policy"], ["state", "flush"], ["policy", "flush"], ["state", "deleteall"]):
        done = ground.lab.exec(OWN, [*NOBODY, "ip", "xfrm", *words], check=False)
        if done.status == 0 and (done.stdout.strip() or words[1:]):
            got.append(" ".join(words))
    there = len(ground.sas(OWN).keys)
    return Outcome(there > 0, f"five requests; root sees {there} SAs", f"accepted: {', '.join(got)}" if got else "")


def files(ground: Ground) -> Outcome:
    """Read what the agent keeps on the node and in the BPF file system: nothing opens; root finds files."""
    found = [json.loads(ground.python(OWN, _WALK, *PLACES, rights=rights).stdout or "null") for rights in (False, True)]
    if found[0] is None or found[1] is None:
        return Outcome(happened=False, evidence="the search did not run")
    mine, roots = found
    fell = f"readable: {', '.join(mine)}" if mine else ""
    return Outcome(len(roots) > 1, f"root finds {len(roots)} files, nobody may open {len(mine)}", fell)


def memory(ground: Ground) -> Outcome:
    """Open the memory and the environment of agent and controller: refused; root may."""
    pods = [*ground.lab.kubelet.pods("wirecrypt-agent"), *ground.lab.kubelet.pods("wirecrypt-controller")]
    words = [str(pod.process.pid) for pod in pods]
    mine, roots = (json.loads(ground.python(OWN, _MEMORY, *words, rights=rights).stdout) for rights in (False, True))
    fell = f"opened: {', '.join(mine)}" if mine else ""
    return Outcome(len(roots) == 3 * len(words), f"{len(roots)} files of {len(words)} processes, opened {len(mine)}", fell)


def ports(ground: Ground) -> Outcome:
    """Read all that the ports of agent and controller tell: none of the keys of any SA or Secret is in it."""
    lab, text, answers = ground.lab, "", 0
    holder = lab.kubelet.pods("wirecrypt-controller")[0].node
    places = zip((OWN, OWN, holder, holder), PAGES, strict=True)
    told = [ground.python(node, FETCH, f"http://127.0.0.1:{page}", rights=False) for node, page in places]
    told += [ground.python(OWN, FETCH_LOCAL, SOCKET, page) for page in GUARDED]  # root asks: who has a token sees as much
    for done in told:
        answers += done.status == 0 and bool(done.stdout.strip())
        text += done.stdout
    keys = [key.removeprefix("0x") for node in (OWN, PEER) for key in ground.sas(node).keys.values()]
    values = [value for path in (KEYS, SEEDS) for secret in lab.api.items(path) for value in secret.get("data", {}).values()]
    keys += [form for value in values for form in (value, base64.b64decode(value).hex())]
    leaked = [key for key in keys if len(key) >= 32 and (key in text or key[:32] in text)]  # noqa: PLR2004 - not by chance
    fell = f"{len(leaked)} keys are shown" if leaked else ""
    evidence = f"{answers} of 6 pages, {len(text)} characters, searched for {len(keys)} forms of keys"
    return Outcome(answers == 6 and len(keys) > 4, evidence, fell)  # noqa: PLR2004


def flood(ground: Ground) -> Outcome:
    """Ask for much at once, and slowly: nothing is told without a token, and the agent goes on with its work."""
    counted = json.loads(ground.python(OWN, _FLOOD, str(FLOOD), *GUARDED, rights=False, timeout=120).stdout)
    health = ground.python(OWN, FETCH, f"http://127.0.0.1:{PAGES[1]}").stdout
    control, ears = Markers(), ground.ears(f"pod/{PEER}/a")
    ground.python(f"pod/{OWN}/a", _SEND, ground.aim(PEER).pods[4], control().decode())
    heard = ears.wait(control.made)
    fell = "" if heard and health.strip() == "ok" else f"the agent says {health.strip()!r}, {heard} of 1 packets arrive"
    fell = f"{counted['200']} requests without a token were answered" if "200" in counted else fell
    answers = ", ".join(f"{number} x {status}" for status, number in sorted(counted.items()))
    return Outcome(counted.get("401", 0) > 0, f"{answers}; a pod's packet arrives: {heard}", fell)


def asking(ground: Ground) -> Outcome:
    """Ask for what `verify` and `plan` show, here and at the peer, by made-up tokens and root's socket: root alone is told."""
    here, there = ground.aim(OWN).nodes[4], ground.aim(PEER).nodes[4]
    found = json.loads(ground.python(OWN, _ASK, SOCKET, here, there, *GUARDED, rights=False).stdout or "{}")
    roots = ground.python(OWN, FETCH_LOCAL, SOCKET, GUARDED[1]).stdout
    had = sorted(way for way, status in found.items() if status == "200")
    statuses = ", ".join(sorted(set(found.values())))
    happened = '"changes"' in roots and "401" in statuses
    return Outcome(happened, f"{len(found)} ways: {statuses}; root is answered", ", ".join(had))


def rights(ground: Ground) -> Outcome:
    """Open raw and packet sockets and set a mark: refused; root may."""
    mine, roots = (json.loads(ground.python(OWN, _SOCKETS, rights=rights).stdout) for rights in (False, True))
    fell = f"allowed: {', '.join(mine)}" if mine else ""
    return Outcome(len(roots) == 4, f"root may {', '.join(roots)}", fell)  # noqa: PLR2004 - all of the script's tries


def control(ground: Ground) -> Outcome:
    """Send to control ports, here and at the peer: refused or blocked."""
    own, peer, tried = ground.aim(OWN), ground.aim(PEER), ground.hidden()
    refused, blocked = partial(ground.metric, OWN, REFUSED), partial(ground.stat, OWN, "XfrmOutPolBlock")
    before = refused(), blocked()
    for target in (own.nodes[4], peer.nodes[4], own.nodes[6], peer.nodes[6]):
        ground.python(OWN, _SEND, target, tried().decode().ljust(256), "14500", rights=False)
    here, there = moved(refused, before[0], 1), moved(blocked, before[1], 1)
    leaked = ground.leaked(tried)
    evidence = f"{here} refused by the own agent, {there} blocked on the way to the peer"
    return Outcome(here > 0 and there > 0, evidence, f"{len(leaked)} readable" if leaked else "")


def share(ground: Ground) -> Outcome:
    """Bind the control port next to the agent, by every address and option: refused; a port that nobody holds is had."""
    aim = ground.aim(OWN)
    places = ("0.0.0.0", "::", "127.0.0.2", "::1", *aim.nodes.values(), "224.0.0.1")  # noqa: S104
    found = json.loads(ground.python(OWN, _SHARE, str(CONTROL_PORT), *places, rights=False).stdout or "{}")
    had, taken = found.get("had", []), found.get("taken", [])
    return Outcome(bool(had), f"{found.get('tried')} ways; of a free port {len(had)} are had", ", ".join(taken))


def traffic(ground: Ground) -> Outcome:
    """Talk to the peer's node and pod, whatever the port: nothing is readable; to a plain node it is."""
    tried, plain = ground.hidden(), Markers()
    for node, mark in ((PEER, tried), (THIRD, plain)):
        aim = ground.aim(node)
        targets = [place[f] for place in (aim.nodes, aim.pods) for f in FAMILIES]
        words = [f"{target} {mark().decode()} {port}" for target in targets for port in (9, 4500, 4789)]
        ground.python(OWN, _SEND_ALL, *words, rights=False)
    seen = ground.wait_readable(plain.made)
    leaked = ground.leaked(tried, again=True)
    evidence = f"{len(tried.made)} datagrams; the same to a plain node: {seen} of {len(plain.made)} readable"
    return Outcome(seen == len(plain.made), evidence, f"{len(leaked)} readable" if leaked else "")


ATTACKS: Final = (
    Attack(HOST, "Reads and flushes the kernel's IPsec states and policies.", kernel_ipsec, quick=True),
    Attack(HOST, "Reads the agent's files and the pins of its programs.", files, quick=True),
    Attack(HOST, "Opens memory and environment of the agents and the controller.", memory, quick=True),
    Attack(HOST, "Opens raw and packet sockets, and sets a mark.", rights, quick=True),
    Attack(HOST, "Searches all that the ports of agent and controller tell for keys.", ports),
    Attack(HOST, "Asks agents for what `verify` shows: no token, made-up ones, the socket of root.", asking, quick=True),
    Attack(HOST, "Asks the agent for much at once, and slowly.", flood),
    Attack(HOST, "Sends to the control ports of its node and of a peer.", control),
    Attack(HOST, "Binds the control port next to the agent: every address, every option to share it.", share, quick=True),
    Attack(HOST, "Sends datagrams to a peer's node and pod, also to ports of tunnels.", traffic),
)

_SHARE = """
import json, socket, sys
port, places = int(sys.argv[1]), sys.argv[2:]
options = {"alone": (), "reuseaddr": (2,), "reuseport": (15,), "both": (2, 15)}
had, taken, kept, tried = [], [], [], 0
for number in (port, port + 7):
    for place in places:
        for name, wanted in options.items():
            s = socket.socket(socket.AF_INET6 if ":" in place else socket.AF_INET, socket.SOCK_DGRAM)
            for option in wanted:
                s.setsockopt(socket.SOL_SOCKET, option, 1)
            tried += number == port
            try:
                s.bind(socket.getaddrinfo(place, number, type=socket.SOCK_DGRAM)[0][4])
            except OSError:
                continue
            kept.append(s)
            (taken if number == port else had).append(f"{place} {name}")
print(json.dumps({"had": had, "taken": taken, "tried": tried}))
"""
_WALK = """
import json, os, sys
found = []
for place in sys.argv[1:]:
    for folder, folders, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            if place.startswith("/sys"):
                found.append(path)
                continue
            try:
                open(path, "rb").close()
                found.append(path)
            except OSError:
                pass
print(json.dumps(found))
"""
_MEMORY = """
import json, sys
found = []
for pid in sys.argv[1:]:
    for name in ("mem", "environ", "maps"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                name == "mem" or file.read(1)
            found.append(f"{pid}/{name}")
        except OSError:
            pass
print(json.dumps(found))
"""
FETCH_LOCAL = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(f"GET /{sys.argv[2]} HTTP/1.1\\r\\n\\r\\n".encode())
print(b"".join(iter(lambda: s.recv(65536), b"")).decode())
"""
_ASK = """
import http.client, json, socket, sys
path, *nodes = sys.argv[1:4]
pages, found = sys.argv[4:], {}
tokens = {"none": {}, "word": {"X-Wirecrypt-Token": "x"}, "jwt": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}}
for node in nodes:
    for page in pages:
        for name, headers in tokens.items():
            connection = http.client.HTTPConnection(node, 14580, timeout=60)
            try:
                connection.request("GET", "/" + page, headers=headers)
                found[f"{node} {page} {name}"] = str(connection.getresponse().status)
            except OSError as error:
                found[f"{node} {page} {name}"] = type(error).__name__
try:
    socket.socket(socket.AF_UNIX).connect(path)
    found["socket"] = "200"
except OSError as error:
    found["socket"] = type(error).__name__
print(json.dumps(found))
"""
_FLOOD = """
import collections, json, socket, sys, threading
counted = collections.Counter()
def ask(page, slowly):
    try:
        with socket.create_connection(("127.0.0.1", 14580), timeout=60) as s:
            s.sendall(f"GET /{page} HTTP/1.1\\r\\n".encode() + (b"" if slowly else b"\\r\\n"))
            counted[s.recv(4096)[9:12].decode() or "hung up"] += 1
    except OSError as error:
        counted[type(error).__name__] += 1
pages = [(page, slowly) for page in sys.argv[2:] for slowly in (False, True)]
threads = [threading.Thread(target=ask, args=each) for each in pages * int(sys.argv[1])]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(counted))
"""
_SOCKETS = """
import json, socket
found = []
def mark():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
tries = {"raw": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255).close(),
         "raw6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 255).close(),
         "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(), "mark": mark}
for name, attempt in tries.items():
    try:
        attempt()
        found.append(name)
    except OSError:
        pass
print(json.dumps(found))
"""
_SEND_ALL = """
import socket, sys
for word in sys.argv[1:]:
    target, text, port = word.rsplit(" ", 2)
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.sendto(text.encode(), (target, int(port)))
        except OSError as error:
            print(error)
"""
_SEND = """
import socket, sys
target, text, *port = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.sendto(text.encode(), (target, int(*port) if port else 21998))
"""
