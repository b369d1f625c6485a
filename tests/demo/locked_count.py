"""A program that does lock: py-filelock around each update of a counter.

    locked_count.py FILE COUNT READY GO

The lock is the sidecar FILE.lock. Importing takes longer than all the work, so
it makes the file READY when it is there, and starts when somebody makes GO.
"""

import os
import sys
import time

from filelock import FileLock


def add_one(path):
    with open(path) as file:
        words = file.read().split()
    # Bare, legacy_tool may have left half a number here.
    number = int(words[0]) if words else 0
    with open(path, "w") as file:
        file.write(f"{number + 1}\n")


def main(path, count, ready, go):
    lock = FileLock(path + ".lock")
    with open(ready, "w"):
        pass
    while not os.path.exists(go):
        time.sleep(0.001)
    for _ in range(int(count)):
        with lock.acquire(poll_interval=0.001):
            add_one(path)


main(*sys.argv[1:])
