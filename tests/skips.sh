#!/bin/sh
# skips.sh DIRECTORY: lists what the tests that ctest has run so far have left out, from
# the log that it writes in that directory while it runs. The last of all tests.
set -u
set -- "$1"/LastTest*.log.tmp
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "not one log of a run that goes on: $*" >&2
    exit 1
fi
# Those of an inner ctest have its number in front: "3: SKIP ...".
awk '
/^[0-9]+\/[0-9]+ Testing: / { test = $3 }
/^([0-9]+: )*SKIP / {
    sub(/^([0-9]+: )*SKIP /, "")
    if (skipped++ == 0)
        print "Left out in this run:"
    print test ", " $0
}
END { print "Skipped cases: " skipped + 0 }' "$1"
