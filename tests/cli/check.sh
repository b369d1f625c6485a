#!/bin/bash
# autolock check: what it tells about a file, and its exit status.
# shellcheck source-path=SCRIPTDIR source=cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/cases.sh"

export AUTOLOCK_PATTERNS=$'*.csv\n*.dat readers=none\n!keep.csv'
touch a.csv keep.csv plain b.dat
mkdir real dir.csv && ln -s real link && touch real/c.csv
mkfifo fifo.csv

# line KEY TEXT: the last output has this line.
line() {
    if grep -qxF "$(printf '  %-10s %s' "$1" "$2")" <<<"$output"; then
        ok "    $1: $2"
    else
        not_ok "    $1: $2" "got: $output"
    fi
}

expect 'a file that will be locked' 0 'a.csv*' "$autolock" check a.csv
line canonical "$work/a.csv"
line file 'regular file'
line rule 'AUTOLOCK_PATTERNS:1: *.csv'
line locked 'yes; readers share it'
line sidecar "$work/a.csv.lock (not there yet)"
expect 'check makes no sidecar' 1 '' test -e a.csv.lock

expect 'a file behind a link' 0 '*' "$autolock" check link/../link/c.csv
line canonical "$work/real/c.csv"
line sidecar "$work/real/c.csv.lock (not there yet)"

expect 'a file that is not there yet' 0 '*' "$autolock" check new.csv
line file 'not there yet'
line locked 'yes; readers share it'

expect 'a rule with options' 0 '*' "$autolock" check b.dat
line rule 'AUTOLOCK_PATTERNS:2: *.dat'
line locked 'yes; readers are not locked'

mkdir locks
AUTOLOCK_PATTERNS="*.csv lockdir=$work/locks" \
    expect 'a sidecar elsewhere' 0 '*' "$autolock" check a.csv
line sidecar "$work/locks/${work//\//%}%a.csv.lock (not there yet)"
AUTOLOCK_PATTERNS="*.csv lockdir=$work/nowhere" \
    expect 'a lockdir that is missing' 1 '*the sidecar cannot be made*' "$autolock" check a.csv

expect 'a file that no rule matches' 1 '*' "$autolock" check plain
line rule 'none matches'
line locked 'no: no rule matches'

expect 'a file that a rule takes out' 1 '*' "$autolock" check keep.csv
line rule 'AUTOLOCK_PATTERNS:3: !keep.csv'
line locked 'no: the rule takes it out'

expect 'a sidecar itself' 1 '*locked * no: *' "$autolock" check a.csv.lock

expect 'a directory' 1 '*' "$autolock" check dir.csv
line locked 'no: only regular files are locked'
expect 'a FIFO, without opening it' 1 '*FIFO*' "$autolock" check fifo.csv

expect 'one of two will not be locked' 1 '*a.csv*plain*' "$autolock" check a.csv plain
expect 'a directory that is not there' 125 '*No such file or directory*' \
    "$autolock" check nowhere/a.csv
expect 'a failure outweighs a no' 125 '*' "$autolock" check nowhere/a.csv plain

# --- sidecars that something else stands at ---

touch empty.csv full.csv odd.csv
: >empty.csv.lock
echo data >full.csv.lock
ln -s elsewhere odd.csv.lock
expect 'an empty sidecar is as it should be' 0 '*' "$autolock" check empty.csv
line sidecar "$work/empty.csv.lock (regular file)"
expect 'a sidecar with something in it' 0 '*warning*holds 5 bytes*' "$autolock" check full.csv
expect 'a sidecar that is a link' 1 '*warning*' "$autolock" check odd.csv
line locked 'no: the sidecar is not a regular file'
expect 'no warning where there is no need' 0 '*' "$autolock" check a.csv
case $output in *warning*) not_ok 'no warning' "$output" ;; *) ok '    none' ;; esac

# --- soft locks, which are there as long as they are held ---

export AUTOLOCK_PATTERNS=$'*.csv kind=soft\n*.dat kind=soft readers=none\n!keep.csv'
expect 'a soft lock that nobody has' 0 '*' "$autolock" check a.csv
line locked 'yes, by a soft lock; readers exclude one another too'
line sidecar "$work/a.csv.lock (not there: nobody has it)"
expect 'a soft lock, and readers that go free' 0 '*' "$autolock" check b.dat
line locked 'yes, by a soft lock; readers are not locked'
printf '%d\n%s\n' $$ "$(uname -n)" >a.csv.lock
expect 'a soft lock that somebody has' 0 '*' "$autolock" check a.csv
line sidecar "$work/a.csv.lock (held by pid $$)"
printf '%d\n%s\n123\n' $$ "$(uname -n)" >a.csv.lock
expect 'a stale one' 0 '*' "$autolock" check a.csv
line sidecar "$work/a.csv.lock (stale: pid $$ has ended)"
printf '17\nelsewhere.example\n' >a.csv.lock
expect 'one of another host' 0 '*' "$autolock" check a.csv
line sidecar "$work/a.csv.lock (held by pid 17 on the host elsewhere.example)"
: >a.csv.lock
expect 'one that says nothing' 0 '*' "$autolock" check a.csv
line sidecar "$work/a.csv.lock (held; it does not say by whom)"
rm a.csv.lock && mkdir a.csv.lock
expect 'a directory in its place' 1 '*warning*' "$autolock" check a.csv
line locked 'no: the sidecar is a directory'
rmdir a.csv.lock
expect 'a soft lock is not shared' 125 '*write readers=exclusive or readers=none*' \
    env AUTOLOCK_PATTERNS='*.csv kind=soft readers=shared' "$autolock" check a.csv
export AUTOLOCK_PATTERNS=$'*.csv\n*.dat readers=none\n!keep.csv'

# --- rules and the command line ---

expect 'a faulty rule, and the others apply' 125 "AUTOLOCK_PATTERNS:2: *: 'nonsense=1'*yes;*" \
    env AUTOLOCK_PATTERNS=$'*.csv\n*.txt nonsense=1' "$autolock" check a.csv
expect 'AUTOLOCK=off' 1 '*no: AUTOLOCK=off*' env AUTOLOCK=off "$autolock" check a.csv
expect 'no path' 125 '*no path is given*' "$autolock" check
expect 'an unknown option' 125 '*--nonsense*' "$autolock" check --nonsense a.csv
expect 'control characters are not printed as they are' 1 '*\\033*' \
    "$autolock" check $'plain\033[2J'
# shellcheck disable=SC2016  # the inner shell's
expect 'a report that is not written is a failure' 125 '*cannot write*' \
    sh -c 'exec "$1" check a.csv >/dev/full' sh "$autolock"

# --- help and version ---

expect '--version' 0 'autolock [0-9]*.[0-9]*' "$autolock" --version
for arguments in --help -h help 'help help'; do
    # shellcheck disable=SC2086  # they are divided on purpose
    expect "$arguments" 0 '*Usage: autolock SUBCOMMAND*' "$autolock" $arguments
done
case $output in *run-loaded*) not_ok 'the second step is private' ;; *) ok '    without run-loaded' ;; esac
for arguments in 'run --help' 'help run'; do
    # shellcheck disable=SC2086
    expect "$arguments" 0 'Usage: autolock run *' "$autolock" $arguments
done
for arguments in 'check --help' 'help check'; do
    # shellcheck disable=SC2086
    expect "$arguments" 0 'Usage: autolock check *' "$autolock" $arguments
done
expect 'no subcommand' 125 '*Usage: autolock SUBCOMMAND*' "$autolock"

finish
