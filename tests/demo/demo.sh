#!/bin/bash
# The demo: the same work twice, without and with libautolock.so.
#
#     demo.sh BUILD_DIRECTORY
#
# Exits 0 only if nothing was lost with autolock and no process failed.
set -u
export LC_ALL=C # $EPOCHREALTIME with a point
unset LD_PRELOAD AUTOLOCK AUTOLOCK_STRICT AUTOLOCK_PATTERNS AUTOLOCK_CONFIG AUTOLOCK_LOG

die() {
    echo "demo: $*" >&2
    exit 1
}

[ $# -eq 1 ] || die 'usage: demo.sh BUILD_DIRECTORY'
build=$(cd "$1" && pwd) || exit 1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
library=$build/libautolock.so
tool=$build/legacy_tool
python=/usr/bin/python3 # Debian's: another one in PATH need not have filelock
[ -e "$library" ] || die "there is no $library; build it first"
[ -x "$tool" ] || die "there is no $tool; build it first"
"$python" -c 'import filelock' 2>/dev/null ||
    die "$python has no filelock; install python3-filelock (./apt-deps demo)"

work=$(mktemp -d) || exit 1
pids=()
clean_up() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
cd "$work" || exit 1

# --- the works ---
#
# start_X begins the processes of work X, count_X tells how much of it is in the
# file at the end. What is expected is known beforehand.

declare -A expected=(
    [counter]=$((8 * 250))
    [journal]=$((8 * 50))
    [mixed]=$((2 * 250 + 2 * 1000))
)
limit=120  # seconds that any process may take
body=40    # lines between a record's first and last
problems=0 # processes that failed

# Runs a program in the background; under the library where that is the turn.
launch() {
    timeout --kill-after=5 "$limit" "${prefix[@]}" "$@" &
    pids+=($!)
}

start_counter() {
    echo 0 >counter.csv
    for _ in {1..8}; do
        launch "$tool" counter.csv 250
    done
}
count_counter() {
    read_number counter.csv
}

start_journal() {
    : >journal.txt
    for i in {1..4}; do
        launch bash "$here/append.sh" journal.txt "bash-$i" 50 "$body"
        launch perl "$here/append.pl" journal.txt "perl-$i" 50 "$body"
    done
}
count_journal() {
    perl "$here/whole_records.pl" journal.txt "$body"
}

start_mixed() {
    echo 0 >mixed.csv
    local own=("${prefix[@]}") i
    prefix=() # python locks by itself
    for i in 1 2; do
        launch "$python" "$here/locked_count.py" mixed.csv 250 "ready-$i" go
    done
    prefix=("${own[@]}")
    for ((i = 0; i < 1000; i++)); do
        [ -e ready-1 ] && [ -e ready-2 ] && break
        sleep 0.01
    done
    : >go
    start=$EPOCHREALTIME
    for i in 1 2; do
        launch "$tool" mixed.csv 1000
    done
}
count_mixed() {
    read_number mixed.csv
}

# The number in a file; 0 where there is none (bare, it may be anything).
read_number() {
    local number=''
    read -r number <"$1"
    [[ $number =~ ^[0-9]+$ ]] && echo "$((10#$number))" || echo 0
}

# --- measuring ---

# measure WORK: sets $lost and $seconds.
measure() {
    local pid end
    pids=()
    start=$EPOCHREALTIME
    "start_$1"
    for pid in "${pids[@]}"; do
        if ! wait "$pid"; then
            echo "demo: a process failed" >&2
            problems=$((problems + 1))
        fi
    done
    end=$EPOCHREALTIME
    pids=()
    lost=$((expected[$1] - $("count_$1")))
    local milliseconds=$(((${end/./} - ${start/./} + 500) / 1000))
    printf -v seconds '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000))
    rm -f go ready-* -- *.lock
}

without=() with=() # prefixes of the commands
# Not the path in LD_PRELOAD, where a blank in it would divide it.
with=(env "LD_LIBRARY_PATH=$build" LD_PRELOAD=libautolock.so 'AUTOLOCK_PATTERNS=*.csv:*.txt')
bare_lost=0 kept_lost=0

# row WORK TEXT: does the work twice, prints a line of the table.
row() {
    local bare bare_seconds
    prefix=("${without[@]}")
    measure "$1"
    bare=$lost bare_seconds=$seconds
    prefix=("${with[@]}")
    measure "$1"
    printf '%-41s %6d |%5d %7s |%5d %7s\n' \
        "$2" "${expected[$1]}" "$bare" "$bare_seconds" "$lost" "$seconds"
    bare_lost=$((bare_lost + bare))
    [ "$lost" -eq 0 ] || kept_lost=$((kept_lost + (lost < 0 ? -lost : lost)))
}

cat <<END
Programs that know nothing of one another, or of locks, share a file: a counter
that each reads, adds 1 to and writes back, and a journal to which each appends
records of $((body + 2)) lines. The same work is done twice: as they are, and with

    LD_LIBRARY_PATH=$build
    LD_PRELOAD=libautolock.so
    AUTOLOCK_PATTERNS='*.csv:*.txt'

Lost are the additions that are missing from the counter at the end, and the
records in the journal that are torn or mixed with another's.

                                                 |   without    |     with
what                                    expected | lost seconds | lost seconds
-------------------------------------------------+--------------+-------------
END
row counter 'counter: 8 legacy_tool, 250 times each'
row journal 'journal: 4 bash, 4 perl, 50 records each'
row mixed 'counter: 2 FileLock, 2 legacy_tool'
echo

if [ "$problems" -gt 0 ]; then
    echo "FAILED: $problems processes did not do their work."
    exit 1
fi
if [ "$kept_lost" -gt 0 ]; then
    echo "FAILED: with autolock $kept_lost were lost; there must be none."
    exit 1
fi
echo "Without autolock $bare_lost were lost, with it none."
