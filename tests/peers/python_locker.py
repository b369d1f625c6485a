"""Takes a lock COUNT times through py-filelock and notes each interval.

python_locker.py KIND LOCK COUNT LOG

KIND: flock (FileLock), soft (SoftFileLock), unlink (FileLock that removes the
file as it releases it, as some versions of py-filelock do). Says "ready" and
begins when its input ends.
"""

import fcntl
import os
import sys
import time

import filelock


class Unlinking:
    """Locks with flock, checks that the path still leads to what was locked, and
    unlinks it before it lets go."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                there = os.stat(self.path)
            except FileNotFoundError:
                there = None
            mine = os.fstat(fd)
            if there and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                self.fd = fd
                return
            os.close(fd)

    def __exit__(self, *_):
        os.unlink(self.path)
        os.close(self.fd)


def main():
    kind, path, count, log = sys.argv[1:5]
    if kind == "unlink":
        lock = Unlinking(path)
    elif kind == "soft":
        lock = filelock.SoftFileLock(path, timeout=60)
    else:
        lock = filelock.FileLock(path, timeout=60)
    times = []
    print("ready", flush=True)
    sys.stdin.read()
    for _ in range(int(count)):
        if kind == "unlink":
            with lock:
                begin = time.monotonic_ns()
                times.append((begin, time.monotonic_ns()))
        else:
            with lock.acquire(poll_interval=0.001):
                begin = time.monotonic_ns()
                times.append((begin, time.monotonic_ns()))
        time.sleep(0.0003)  # or nobody else would get a turn
    with open(log, "w") as out:
        for begin, end in times:
            out.write(f"{begin} {end}\n")


main()
