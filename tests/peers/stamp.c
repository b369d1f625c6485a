/* Notes one interval, for a peer that runs a command under its lock:
 * flock LOCK stamp LOG. */
#include "tests/peers/intervals.h"

int main(int argc, char **argv) {
    int64_t begin = intervals_now();
    struct interval *interval = argc > 1 ? intervals_open(argv[1], 1) : NULL;
    if (!interval) {
        return 2;
    }
    interval->begin = begin;
    interval->end = intervals_now();
    return 0;
}
