"""python3-filelock's part of the benchmark in lock.c: prints its figures, one a
line, for MODE NUMBER LOCK.

uncontended  microseconds of one acquire + release, over NUMBER of them
handover     microseconds from release to acquire, NUMBER times
throughput   holds a second of NUMBER processes in all
turns        seconds until the lock was had, NUMBER times; -1 after 20 s
"""

import mmap
import os
import random
import struct
import sys
import time

import filelock


def uncontended(number, lock):
    for _ in range(10):
        with lock:
            pass
    start = time.monotonic_ns()
    for _ in range(number):
        with lock:
            pass
    print((time.monotonic_ns() - start) / number / 1000)


def handover(number, lock):
    shared = mmap.mmap(-1, 16)
    go, ready = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(go[1])
        other = filelock.FileLock(lock.lock_file)
        while os.read(go[0], 1):
            os.write(ready[1], b"x")
            with other:
                struct.pack_into("q", shared, 8, time.monotonic_ns())
            os.write(ready[1], b"x")
        os._exit(0)
    for _ in range(number):
        lock.acquire()
        os.write(go[1], b"x")
        os.read(ready[0], 1)
        time.sleep(0.002)
        struct.pack_into("q", shared, 0, time.monotonic_ns())
        lock.release()
        os.read(ready[0], 1)
        released, got = struct.unpack("qq", shared)
        print((got - released) / 1000)
    os.close(go[1])


def throughput(number, lock):
    each = max(1, 128 // number)
    go = os.pipe()
    for _ in range(number):
        if os.fork() == 0:
            os.close(go[1])
            os.read(go[0], 1)
            mine = filelock.FileLock(lock.lock_file)
            for _ in range(each):
                with mine:
                    pass
            os._exit(0)
    start = time.monotonic()
    os.close(go[0])
    os.close(go[1])
    for _ in range(number):
        os.wait()
    print(each * number / (time.monotonic() - start))


def turns(number, lock):
    for _ in range(number):
        time.sleep(random.uniform(0.1, 0.2))
        start = time.monotonic()
        try:
            with lock.acquire(timeout=20):
                print(time.monotonic() - start)
        except filelock.Timeout:
            print(-1)


mode, number, path = sys.argv[1:]
globals()[mode](int(number), filelock.FileLock(path))
sys.stdout.flush()
