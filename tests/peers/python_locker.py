"""Takes a lock COUNT times through py-filelock and notes each interval.

python_locker.py KIND LOCK COUNT LOG USEC

KIND: flock (FileLock), soft (SoftFileLock), unlink (FileLock that removes the
file as it releases it, as some versions of py-filelock do). LOG and USEC: as in
intervals.h and locker.c. Says "ready" and begins when its input ends.
"""

import fcntl
import mmap
import os
import struct
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
    kind, path, count, log, usec = sys.argv[1:]
    count, hold = int(count), int(usec) * 1000
    if kind == "unlink":
        unlinking = Unlinking(path)
        acquire = lambda: unlinking
    else:
        make = filelock.SoftFileLock if kind == "soft" else filelock.FileLock
        lock = make(path, timeout=60)
        acquire = lambda: lock.acquire(poll_interval=0.001)
    with open(log, "w+b") as file:
        file.truncate(16 * count)
        intervals = mmap.mmap(file.fileno(), 16 * count)
    print("ready", flush=True)
    sys.stdin.read()
    for i in range(count):
        with acquire():
            begin = time.monotonic_ns()
            struct.pack_into("q", intervals, 16 * i, begin)
            while time.monotonic_ns() - begin < hold:
                pass
            struct.pack_into("q", intervals, 16 * i + 8, time.monotonic_ns())
        time.sleep(0.0003)  # or nobody else would get a turn


main()
