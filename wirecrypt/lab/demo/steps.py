"""The demo's story, step by step; each step claims what it shows, with evidence."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from wirecrypt.lab import operations
from wirecrypt.lab.demo import judging
from wirecrypt.lab.demo.judging import Question, Side
from wirecrypt.lab.demo.record import CAPTURE, PROTECTED, Record
from wirecrypt.lab.demo.traffic import Load, LoadTotals, fitting
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.telling import Teller
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire import observer
from wirecrypt.lab.wire.capture import Capture

PAIR = ("node-1", "node-2")
CHECK_SECONDS = 4


@dataclass(slots=True)
class Story:
    """What the steps share: the lab, the record, the running capture, and times by the guest's clock."""

    lab: Lab
    record: Record
    capture: Capture
    teller: Teller
    times: dict[str, float] = field(default_factory=dict)
    markers: list[bytes] = field(default_factory=list)
    third_markers: list[bytes] = field(default_factory=list)
    part: float = 1.0  # of the load

    def addresses(self, node: str) -> tuple[str, str]:
        """Return the node's addresses on the wire."""
        place = self.lab.nodes[node].addresses
        return str(place.wire4.ip), str(place.wire6.ip)

    def pods(self, node: str) -> tuple[str, str]:
        """Return the node's pod prefixes."""
        place = self.lab.nodes[node].addresses
        return str(place.pods4), str(place.pods6)

    def question(self) -> Question:
        """Return what the capture is asked: from *protected* to *unlabelled*."""
        one, other = (Side(self.addresses(n), self.pods(n)) for n in PAIR)
        return Question(self.times["protected"], self.times["unlabelled"], (one, other), self.markers, self.third_markers)

    def load(self, name: str) -> Load:
        """Return a load whose markers the capture will be searched for."""
        self.teller.doing("traffic is started")
        return Load(self.lab, self.record, name, part=self.part)

    def note(self, load: Load) -> None:
        """Remember the markers of a load that has started."""
        self.teller.doing("under load")
        self.markers += load.markers
        self.third_markers += load.third_markers

    def stop(self, load: Load) -> LoadTotals:
        """End a load and return its totals."""
        self.teller.doing("traffic is stopped and counted")
        return load.stop()


def run(lab: Lab, record: Record, teller: Teller) -> None:
    """Tell the whole story in *lab*; what does not hold is a claim that did not hold, or a LabError."""
    introduce(lab, record)
    with Capture.start(lab, record.folder / CAPTURE) as capture:
        story = Story(lab, record, capture, teller)
        _plain(story)
        _join(story)
        _rotate(story)
        _check(story)
        _restart(story)
        _leave(story)
        observation = capture.observe()
    story.teller.say("judging the capture")
    question = story.question()
    observer.cut(record.folder / CAPTURE, record.folder / PROTECTED, question.start, question.end)
    judging.judge(record, observation, question)


def introduce(lab: Lab, record: Record) -> None:
    """Write down who takes part."""
    for name, node in sorted(lab.nodes.items()):
        record.event(lab.time(), "node", node=name, addresses=[str(node.addresses.wire4.ip), str(node.addresses.wire6.ip)])
    for name, pod in sorted(lab.pods.items()):
        record.event(lab.time(), "pod", node=name.split("/")[1], pod=name, addresses=[pod.ip4, pod.ip6])


def _plain(story: Story) -> None:
    """Nothing is labelled: the observer must be able to read everything, or it could not judge anything later."""
    story.teller.say("nothing is labelled: pod traffic is read off the wire")
    with story.load("plain") as load:
        until(lambda: _readable(story, load), what="every marker is readable on the wire", seconds=DEADLINE, every=0.5)
        totals = story.stop(load)
    story.record.claim(
        "without labels all is readable: the observer works", f"every marker found; {totals.text}", held=totals.complete
    )
    evidence, none = _nothing(story.lab)
    story.record.claim("agents are idle without labels: no kernel object", evidence, held=none)


def _readable(story: Story, load: Load) -> bool:
    seen = story.capture.observe()
    return all(seen.marked(marker) for marker in (*load.markers, *load.third_markers))


def _join(story: Story) -> None:
    story.teller.say("under load, two of three nodes are labelled:")
    story.teller.show(f"kubectl label node {' '.join(PAIR)} {operations.LABEL}=enabled")
    with story.load("join") as load:
        story.note(load)
        started = story.lab.time()
        for node in PAIR:
            story.record.event(story.lab.time(), "labelled", node=node)
        story.teller.doing("waiting until both report that they are protected")
        operations.label(story.lab, *PAIR)
        protected = operations.wait_protected(story.lab, PAIR)
        for node, at in protected.items():
            story.record.event(at, "protected", node=node)
        story.times["protected"] = max(protected.values())
        took = story.times["protected"] - started
        _more_packets(story, 3.0)
        _fit(story)
        totals = story.stop(load)
    story.record.figures["label_to_protected_seconds"] = round(took, 2)
    story.record.claim("labelling two nodes under load loses nothing", totals.text, held=totals.complete)
    story.teller.say(f"protected after {took:.1f} s, {totals.lost} packets lost")


def _fit(story: Story) -> None:
    """See how long an agent needs for an answer beside the load, and have the next ones fit: what starves shows only itself."""
    began = time.monotonic()
    operations.metrics(story.lab, PAIR[0])
    took = time.monotonic() - began
    story.part = fitting(took)
    story.record.figures["answer_under_load_seconds"] = round(took, 2)
    if story.part < 1.0:
        story.teller.say(
            f"this machine is slow, an agent answers after {took:.0f} s: {story.part:.0%} of the load from here on"
        )


def _more_packets(story: Story, seconds: float) -> None:
    """Wait until the guest's clock is *seconds* further, with the load running."""
    end = story.lab.time() + seconds
    until(lambda: story.lab.time() >= end, what="the guest's clock moves", seconds=seconds * 10 + 30, every=0.1)


def _rotate(story: Story) -> None:
    story.teller.say("under load, all keys are replaced:")
    story.teller.show("wirecrypt rotate --wait")
    lab = story.lab
    with story.load("rotation") as load:
        story.note(load)
        old = {n: operations.spis(lab, n) for n in PAIR}
        before = operations.xfrm_errors(lab)
        story.teller.doing("the rotation is running")
        started = lab.time()
        story.record.event(started, "rotating")
        operations.rotate(lab, "demo")
        ended = lab.time()
        story.record.event(ended, "rotated")
        after = operations.xfrm_errors(lab)
        new = {n: operations.spis(lab, n) for n in PAIR}
        totals = story.stop(load)
    moved = operations.differences(before, after)
    story.times["rotated"] = ended
    story.record.figures["rotation_seconds"] = round(ended - started, 2)
    story.record.figures["xfrm_stat_differences"] = moved
    story.record.claim("a rotation under load loses nothing", f"{ended - started:.1f} s; {totals.text}", held=totals.complete)
    story.record.claim(
        "every xfrm_stat counter +0 on every node over the rotation", str(moved or "no counter moved"), held=not moved
    )
    fresh = all(new[n] and not new[n] & old[n] for n in PAIR)
    story.record.claim("all SPIs are new", f"{_list(old['node-1'])} became {_list(new['node-1'])}", held=fresh)
    story.teller.say(f"rotated in {ended - started:.1f} s, {totals.lost} packets lost")


def _check(story: Story) -> None:
    story.teller.say("is it encrypted? asked of both ends, and of tcpdump on node-1:")
    seconds = str(CHECK_SECONDS)
    story.teller.show(f"wirecrypt verify --seconds {seconds}", f"sh scripts/check-encryption.sh -i upl -s {seconds}")
    lab = story.lab
    with story.load("check") as load:
        story.note(load)
        story.teller.doing("wirecrypt verify")
        verified = operations.verify(lab, "--seconds", seconds)
        script = str(operations.ROOT / "scripts/check-encryption.sh")
        words = ["sh", script, "-i", "upl", "-s", seconds]
        for prefix in story.pods("node-1"):
            words += ["-l", prefix]
        story.teller.doing("tcpdump on node-1: towards node-2, then node-3")
        checked = lab.exec("node-1", [*words, *_remote(story, "node-2")], check=False)
        third = lab.exec("node-1", [*words, *_remote(story, "node-3")], check=False)
        totals = story.stop(load)
    story.record.claim(
        "wirecrypt verify finds every pair protected", _last(verified.stdout + verified.stderr), held=verified.returncode == 0
    )
    story.record.claim(
        "the check script sees ESP and no cleartext to node-2", f"exit {checked.status}", held=checked.status == 0
    )
    story.record.claim("the same script finds the cleartext to node-3", f"exit {third.status}", held=third.status == 1)
    story.record.claim("nothing was lost meanwhile", totals.text, held=totals.complete)
    (story.record.folder / "verify.txt").write_text(verified.stdout + verified.stderr)
    (story.record.folder / "check-encryption.txt").write_text(checked.stdout + checked.stderr + third.stdout + third.stderr)


def _remote(story: Story, node: str) -> list[str]:
    return [word for prefix in story.pods(node) for word in ("-r", prefix)]


def _restart(story: Story) -> None:
    story.teller.say("under load, the agent of node-1 is killed (-9), and started again")
    lab = story.lab
    with story.load("restart") as load:
        story.note(load)
        before = {n: operations.spis(lab, n) for n in PAIR}
        agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
        agent.kill()
        _more_packets(story, 2.0)
        started = time.monotonic()
        agent.restart()
        story.teller.doing("waiting for the new process to find the pair protected")
        until(
            lambda: operations.pairs_by_state(lab, "node-1").get("protected") == 1,
            what="the new process has made a pass and finds the pair protected",
            seconds=operations.PROTECTED,
            every=0.3,
        )
        story.record.figures["agent_restart_seconds"] = round(time.monotonic() - started, 2)
        story.record.figures["agent_rss_kilobytes"] = _resident(lab, agent.process.pid)
        _more_packets(story, 3.0)
        until(lambda: operations.is_protected(lab, "node-1", 1), what="node-1 reports ready", seconds=operations.PROTECTED)
        after = {n: operations.spis(lab, n) for n in PAIR}
        totals = story.stop(load)
    story.record.claim("kill -9 of an agent and its restart lose nothing", totals.text, held=totals.complete)
    story.record.claim("the restarted agent adopts: the same SAs", f"{_list(after['node-1'])}", held=before == after)


def _leave(story: Story) -> None:
    story.teller.say("under load, the labels are taken off again:")
    story.teller.show(f"kubectl label node {' '.join(PAIR)} {operations.LABEL}-")
    lab = story.lab
    with story.load("leave") as load:
        story.note(load)
        before = {n: operations.kernel_objects(lab, n) for n in PAIR}
        story.times["unlabelled"] = lab.time()
        for node in PAIR:
            story.record.event(story.times["unlabelled"], "unlabelled", node=node)
        story.teller.doing("waiting until nothing is left in any kernel")
        operations.unlabel(lab, *PAIR)
        operations.wait_removed(lab, PAIR)
        until(lambda: not _ipsec(lab), what="every node is without IPsec", seconds=operations.REMOVED, every=0.3)
        removed = lab.time()
        until(
            lambda: not any(operations.kernel_objects(lab, n) for n in lab.nodes),
            what=lambda: f"every node is without kernel objects: {_nothing(lab)[0]}",
            seconds=operations.REMOVED,
            every=0.3,
        )
        _more_packets(story, 2.0)
        seen = story.capture.observe().between(removed)
        readable = sum(1 for m in load.markers if seen.marked(m))
        totals = story.stop(load)
    story.record.figures["unlabel_seconds"] = round(removed - story.times["unlabelled"], 2)
    story.record.claim("taking the label off under load loses nothing", totals.text, held=totals.complete)
    left, none = _nothing(lab)
    story.record.claim(
        "afterwards no kernel object is left and traffic is readable again",
        f"{sum(len(found) for found in before.values())} before; {left}; {readable} of {len(load.markers)} flows readable",
        held=none and all(before.values()) and readable == len(load.markers),
    )


def _ipsec(lab: Lab) -> list[str]:
    """Return the nodes that have a state or a policy: a quick look, for the time at which they had none any more."""
    return [n for n in lab.nodes if operations.spis(lab, n) or lab.exec(n, ["ip", "xfrm", "policy"]).stdout.strip()]


def _nothing(lab: Lab) -> tuple[str, bool]:
    """Return what is in the nodes' kernels, in words, and whether that is nothing."""
    found = {n: objects for n in sorted(lab.nodes) if (objects := operations.kernel_objects(lab, n))}
    counts = ", ".join(f"{len(objects)} in {n} ({objects[0]} …)" for n, objects in found.items())
    return counts or "no state, policy, program on a link or pin in any node", not found


def _resident(lab: Lab, pid: int) -> int:
    for line in lab.exec("guest", ["cat", f"/proc/{pid}/status"]).stdout.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _list(numbers: set[str]) -> str:
    return ", ".join(sorted(numbers)) or "none"


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


__all__ = ["LoadTotals", "Story", "run"]
