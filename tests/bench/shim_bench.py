#!/usr/bin/python3
"""What libautolock.so costs, side by side with what stands next to it.

    shim_bench.py WORKER LIBRARY EMPTY_LIBRARY [ROUNDS [WORD]]

With WORD only the groups that have it in their title.

Each line is one thing in one set-up. All set-ups of a thing take turns, for
ROUNDS rounds, since other work on the machine comes and goes; the figures are
medians over the rounds, and the ratio is the median of each round's own ratio
to the first line of its group. Nothing is judged: the targets are only shown.
"""
import glob
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

WORKER, LIBRARY, EMPTY = (os.path.abspath(path) for path in sys.argv[1:4])
ROUNDS = int(sys.argv[4]) if len(sys.argv) > 4 else 15
WORD = sys.argv[5] if len(sys.argv) > 5 else ""
FILELOCK = """
import sys, time
from filelock import FileLock
path, count = sys.argv[1], int(sys.argv[2])
times = []
for batch in range(11):
    start = time.process_time_ns()
    for i in range(count):
        with FileLock(path + ".lock"):
            open(path, "r+b", buffering=0).close()
    times.append((time.process_time_ns() - start) / count)
print(sorted(times)[5])
"""


def rules(pattern, count):
    return "\n".join(pattern % i for i in range(count)) + "\n"


def environment(preload=None, patterns=None, config=None, **more):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("AUTOLOCK") and k != "LD_PRELOAD"}
    if preload:
        env["LD_PRELOAD"] = preload
    if config:
        env["AUTOLOCK_CONFIG"] = config
    elif patterns is not None:
        env["AUTOLOCK_PATTERNS"] = patterns
    env.update(more)
    return env


def find_library(*patterns):
    for pattern in patterns:
        for path in glob.glob(pattern):
            return path
    return None


def measure(command, env, cwd=None):
    result = subprocess.run(command, env=env, cwd=cwd, stdout=subprocess.PIPE, check=True)
    return float(result.stdout)


def group(title, unit, cases, target=None):
    """cases: (name, command, environment); the first is what the others are
    held against. The target is for the lines whose name begins with it."""
    if WORD not in title:
        return
    print(f"\n{title} ({unit})")
    values = [[] for _ in cases]
    for _ in range(ROUNDS):
        for i, (name, command, env) in enumerate(cases):
            values[i].append(measure(command, env))
    base = values[0]
    for (name, _, _), value in zip(cases, values):
        ratio = statistics.median(v / b for v, b in zip(value, base))
        aim = ""
        if target and name.startswith("autolock"):
            aim = f"   target {target}"
        print(f"  {name:44} {statistics.median(value):12,.1f}  x {ratio:5.3f}{aim}", flush=True)


def private_memory(env):
    """With a second process beside it, so that what is shared shows as such."""
    other = subprocess.Popen([WORKER, "memory", "-"], env=env, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    other.stdout.readline()
    result = measure([WORKER, "memory"], env)
    other.stdin.close()
    other.wait()
    other.stdout.close()
    return result


def others():
    """Other preloaded libraries that wrap open."""
    found = []
    eatmydata = find_library("/usr/lib/*/libeatmydata.so", "/usr/lib/libeatmydata.so")
    if eatmydata:
        found.append(("libeatmydata", environment(eatmydata)))
    fakechroot = find_library("/usr/lib/*/fakechroot/libfakechroot.so")
    if fakechroot:
        found.append(("libfakechroot", environment(fakechroot, FAKECHROOT_EXCLUDE_PATH="/")))
    if len(found) < 2:
        print("libeatmydata or libfakechroot is not installed (./apt-deps bench)")
    return found


def main():
    directory = tempfile.mkdtemp(prefix="autolock-bench-")
    try:
        run(directory)
    finally:
        shutil.rmtree(directory)


def run(directory):
    deep = os.path.join(directory, "one/two/three")
    os.makedirs(deep)
    os.makedirs(os.path.join(directory, "srv"))
    plain = os.path.join(deep, "plain.txt")
    link = os.path.join(deep, "link.txt")
    data = os.path.join(deep, "data.csv")
    for path in (plain, data):
        with open(path, "w") as file:
            file.write("1\n")
    os.symlink("plain.txt", link)
    held = []
    for i in range(100):
        held.append(os.path.join(deep, f"held{i}.csv"))
        open(held[-1], "w").close()
    names = os.path.join(directory, "names.conf")
    below = os.path.join(directory, "below.conf")
    for path, pattern in ((names, "*.csv%d"), (below, "/srv/dir%d/**")):
        with open(path, "w") as file:
            file.write(rules(pattern, 1000))
        os.chmod(path, 0o644)

    bare = ("bare", environment())
    plain_cases = [
        bare,
        ("autolock, 1 rule *.csv", environment(LIBRARY, "*.csv")),
        ("autolock, 1,000 rules *.csvN", environment(LIBRARY, config=names)),
        ("autolock, 1 rule /srv/**", environment(LIBRARY, "/srv/**")),
        ("autolock, 1,000 rules /srv/dirN/**", environment(LIBRARY, config=below)),
    ] + others()
    for call, target in (("open", "1.05 (/srv/** 1.10)"), ("fopen", "1.10")):
        group(f"{call} and close of a file that matches no rule", "ns",
              [(n, [WORKER, call, plain, "300"], e) for n, e in plain_cases], target)
    group("open and close of a link to such a file", "ns",
          [(n, [WORKER, "open", link, "300"], e) for n, e in plain_cases[:4]])

    group("open and close of a matching file, nobody else there", "ns", [
        ("hand-written, the least", [WORKER, "least", data, "200"], environment()),
        ("bare, without any lock", [WORKER, "open", data, "200"], environment()),
        ("autolock, *.csv", [WORKER, "open", data, "200"], environment(LIBRARY, "*.csv")),
        ("autolock, **/three/*.csv", [WORKER, "open", data, "200"],
         environment(LIBRARY, "**/three/*.csv")),
        ("python3-filelock", ["/usr/bin/python3", "-c", FILELOCK, data, "100"], environment()),
    ], "1.15")

    for stdio in ("/dev/null", plain):
        start = [WORKER, "start", "30", stdio, "/bin/true"]
        group(f"start of /bin/true, stdio on {'a file' if stdio == plain else stdio}", "ns", [
            ("empty library", start, environment(START_PRELOAD=EMPTY)),
            ("bare", start, environment()),
            ("autolock, no rule", start, environment(patterns="", START_PRELOAD=LIBRARY)),
            ("autolock, 1 rule", start, environment(patterns="*.csv", START_PRELOAD=LIBRARY)),
            ("autolock, a file of 1,000 rules", start,
             environment(config=names, START_PRELOAD=LIBRARY)),
        ], "1.10")

    fork = [WORKER, "fork", "30"] + held
    group("fork and exec from a process that holds 100 files", "ns", [
        ("bare", fork, environment()),
        ("autolock", fork, environment(LIBRARY, "*.csv")),
    ])

    group("hand-over from one process to the next", "ns", [
        ("bare flock", [WORKER, "handover", "flock", data, "60"], environment()),
        ("hand-written, the least, which opens after it", [WORKER, "handover", "least", data, "60"],
         environment()),
        ("autolock, no timeout", [WORKER, "handover", "open", data, "60"],
         environment(LIBRARY, "*.csv")),
        ("autolock, timeout=60s", [WORKER, "handover", "open", data, "60"],
         environment(LIBRARY, "*.csv timeout=60s")),
    ], "1.10")

    if WORD in "private memory":
        print("\nprivate memory (KiB; what a library adds, code that others share aside)")
        empty = private_memory(environment(EMPTY))
        for name, env in (("autolock, 1 rule", environment(LIBRARY, "*.csv")),
                          ("autolock, 1,000 rules *.csvN", environment(LIBRARY, config=names)),
                          ("autolock, 1,000 rules /srv/dirN/**", environment(LIBRARY, config=below))):
            print(f"  {name:44} {private_memory(env) - empty:12,.0f}   target 100")


main()
