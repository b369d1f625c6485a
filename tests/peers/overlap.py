"""Real peers on one lock at once: do any two of them ever hold it together?

overlap.py BUILD_DIRECTORY [FACTOR]

Runs each mixture of peers under contention, collects the intervals in which each
held the lock (CLOCK_MONOTONIC), and looks for two that overlap. In some mixtures
one peer is killed in the middle, again and again, and started anew. FACTOR
multiplies the number of holds. Fails if any two overlap, or any peer fails or
had no turn, or nobody was killed while he held it.
"""

import os
import random
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
LIMIT = 600  # seconds for one mixture
KILLS = 12


def commands(build, factor):
    """A peer's name and its command, which takes LOCK and writes LOG."""
    tests = os.path.join(build, "tests")

    def c(kind, count, usec=50):
        locker = os.path.join(tests, "locker")
        return [locker, kind, "LOCK", str(count * factor), "LOG", str(usec)]

    def py(kind, count, usec=0):
        locker = os.path.join(HERE, "python_locker.py")
        return [PYTHON, locker, kind, "LOCK", str(count * factor), "LOG", str(usec)]

    stamp = os.path.join(tests, "stamp")
    loop = f'echo ready; cat; for ((i = 0; i < {40 * factor}; i++)); do flock "$1" {stamp} "$2" || exit; done'
    endless = 10**6 // factor
    return {
        "libfilelock": c("flock", 2000),
        "libfilelock-timeout": c("flock-timeout", 2000),
        "py-filelock": py("flock", 300),
        "py-unlinking": py("unlink", 1000),
        "flock(1)": ["bash", "-c", loop, "flock", "LOCK", "LOG"],
        "libfilelock-soft": c("soft", 1000),
        "py-soft": py("soft", 200),
        "killed libfilelock": c("flock", endless, 2000),
        "killed py-filelock": py("flock", endless, 2000),
        "killed libfilelock-soft": c("soft", endless, 2000),
    }


# SoftFileLock of 3.9 does not say who holds it, so that nobody breaks the lock
# of one that was killed.
MIXTURES = [
    ["libfilelock", "py-filelock"],
    ["libfilelock", "flock(1)"],
    ["py-filelock", "flock(1)"],
    ["libfilelock", "libfilelock-timeout"],
    ["libfilelock-timeout", "py-unlinking"],
    ["libfilelock", "libfilelock-timeout", "py-filelock", "flock(1)"],
    ["libfilelock", "py-unlinking", "py-unlinking"],
    ["libfilelock-soft", "libfilelock-soft"],
    ["libfilelock-soft", "py-soft"],
    ["killed libfilelock", "libfilelock", "py-filelock"],
    ["killed py-filelock", "libfilelock-timeout", "flock(1)"],
    ["killed libfilelock-soft", "libfilelock-soft", "libfilelock-soft"],
]


class Peer:
    """One running peer; a killed one leaves several logs."""

    def __init__(self, name, command, directory, number):
        self.name, self.command, self.number = name, command, number
        self.directory, self.logs, self.deaths = directory, [], []

    def start(self):
        log = os.path.join(self.directory, f"log{self.number}.{len(self.logs)}")
        self.logs.append(log)
        lock = os.path.join(self.directory, "x.lock")
        self.process = subprocess.Popen(
            [{"LOCK": lock, "LOG": log}.get(word, word) for word in self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.process.stdout.readline()

    def go(self):
        self.process.stdin.close()

    def wait_for_a_hold(self):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            with open(self.logs[-1], "rb") as log:
                if any(log.read(8)):
                    return
            time.sleep(0.001)

    def kill(self):
        self.deaths.append(time.monotonic_ns())
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def end(self):
        """A complaint, or None."""
        try:
            status = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"{self.name} did not end"
        return f"{self.name} ended with {status}" if status else None

    def intervals(self):
        """(begin, end, number) of each hold, and how many it died in. Such a one
        lasted at least until it was killed."""
        found, died = [], 0
        for log, death in zip(self.logs, self.deaths or [None]):
            data = open(log, "rb").read() if os.path.exists(log) else b""
            for begin, end in struct.iter_unpack("qq", data):
                if begin and end:
                    found.append((begin, end, self.number))
                elif begin and death:
                    found.append((begin, max(begin, death), self.number))
                    died += 1
        return found, died


def kill_again_and_again(peer):
    for _ in range(KILLS):
        peer.wait_for_a_hold()
        time.sleep(random.uniform(0.01, 0.06))  # anywhere in its work
        peer.kill()
        if len(peer.deaths) < KILLS:
            peer.start()
            peer.go()


def run(mixture, table, directory):
    """Intervals of all peers, with the number of the peer; and complaints."""
    peers = [Peer(name, table[name], directory, i) for i, name in enumerate(mixture)]
    for peer in peers:
        peer.start()
    for peer in peers:
        peer.go()
    for peer in peers:
        if peer.name.startswith("killed"):
            kill_again_and_again(peer)
    complaints = [peer.end() for peer in peers if not peer.deaths]
    complaints = [complaint for complaint in complaints if complaint]
    intervals = []
    for peer in peers:
        found, died = peer.intervals()
        intervals += found
        if not found:
            complaints.append(f"{peer.name} never held the lock")
        if peer.deaths and not died:
            complaints.append(f"{peer.name} never died while it held the lock")
    return sorted(intervals), complaints


def count_overlaps(intervals):
    overlaps, latest = 0, 0
    for begin, end, _ in intervals:
        overlaps += begin < latest
        latest = max(latest, end)
    return overlaps


def count_changes(intervals):
    """Hand-overs from one peer to another: without any there was no contention."""
    return sum(a[2] != b[2] for a, b in zip(intervals, intervals[1:]))


def main():
    build, factor = sys.argv[1], int((sys.argv[2:] or ["1"])[0])
    # Two holds that do overlap must be found.
    assert count_overlaps([(1, 5, 0), (2, 3, 1), (4, 6, 1), (6, 7, 0)]) == 2
    table, failed, total = commands(build, factor), False, 0
    print(f"{'holds':>8} {'changes':>8} {'overlaps':>8}  peers")
    for mixture in MIXTURES:
        with tempfile.TemporaryDirectory() as directory:
            intervals, complaints = run(mixture, table, directory)
        overlaps, changes = count_overlaps(intervals), count_changes(intervals)
        total += len(intervals)
        print(f"{len(intervals):8} {changes:8} {overlaps:8}  {', '.join(mixture)}", flush=True)
        if changes < len(mixture) - 1:
            complaints.append("no contention")
        for complaint in complaints:
            print(f"not ok - {complaint}")
        failed |= bool(complaints) or overlaps > 0
    print(f"{total:8} holds in all, {'FAILED' if failed else 'no two of them together'}")
    return failed


sys.exit(main())
