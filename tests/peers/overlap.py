"""Real peers on one lock at once: do any two of them ever hold it together?

overlap.py BUILD_DIRECTORY [FACTOR]

Runs each mixture of peers under contention, collects the intervals in which each
held the lock (CLOCK_MONOTONIC), and looks for two that overlap. FACTOR multiplies
the number of holds. Fails if any two overlap, or any peer fails or had no turn.
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
LIMIT = 600  # seconds for one mixture


def commands(build, factor):
    """A peer's name and the command that takes LOCK and writes LOG."""
    locker = os.path.join(build, "tests", "locker")
    stamp = os.path.join(build, "tests", "stamp")
    python = [PYTHON, os.path.join(HERE, "python_locker.py")]

    def c(kind, count):
        return [locker, kind, "LOCK", str(count * factor), "LOG", "50"]

    def py(kind, count):
        return [*python, kind, "LOCK", str(count * factor), "LOG"]

    shell = [
        "bash",
        "-c",
        f'echo ready; cat; for ((i = 0; i < {40 * factor}; i++)); do flock "$1" {stamp} "$2" || exit; done',
        "flock",
        "LOCK",
        "LOG",
    ]
    return {
        "libfilelock": c("flock", 2000),
        "libfilelock-timeout": c("flock-timeout", 2000),
        "py-filelock": py("flock", 300),
        "py-unlinking": py("unlink", 1000),
        "flock(1)": shell,
        "libfilelock-soft": c("soft", 1000),
        "py-soft": py("soft", 200),
    }


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
]


def run(mixture, table, directory):
    """Intervals of all peers, with the number of the peer; and complaints."""
    lock = os.path.join(directory, "x.lock")
    logs = [os.path.join(directory, f"log{i}") for i in range(len(mixture))]
    running = [
        subprocess.Popen(
            [{"LOCK": lock, "LOG": log}.get(word, word) for word in table[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name, log in zip(mixture, logs)
    ]
    complaints = []
    for process in running:
        process.stdout.readline()
    for process in running:
        process.stdin.close()
    for name, process in zip(mixture, running):
        try:
            if process.wait(LIMIT) != 0:
                complaints.append(f"{name} ended with {process.returncode}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            complaints.append(f"{name} did not end")
    intervals = []
    for number, (name, log) in enumerate(zip(mixture, logs)):
        lines = open(log).read().split("\n")[:-1] if os.path.exists(log) else []
        if not lines:
            complaints.append(f"{name} never held the lock")
        for line in lines:
            begin, end = map(int, line.split())
            intervals.append((begin, end, number))
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
