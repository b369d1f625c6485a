#!/usr/bin/env bash
# compose.sh LIBRARY LEGACY_TOOL [fakeroot]
#
# Other libraries that people preload, before and behind ours: real programs do
# what they do without ours (same output, same status, same files), their locks
# are there, and nothing is lost between several of them.
set -u
export LC_ALL=C
library=$1 legacy=$2 inside=${3-}
preloaded=${LD_PRELOAD-}
unset LD_PRELOAD ${!AUTOLOCK*}
failed=0
fail() {
    printf 'not ok - %s\n' "$1"
    failed=1
}

script=$(realpath "$0")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit 1

find_library() {
    local found
    found=$(compgen -G "/usr/lib/*/$1" | head -n 1)
    [ -n "$found" ] || { fail "$1 is not installed (./apt-deps test)"; exit 1; }
    printf '%s\n' "$found"
}

# What each program is to do, in a directory of its own, where *.csv is locked.
cat >work.sh <<'EOF'
set -u
printf 'b\na\n' >a.csv
echo c >>a.csv
exec 3>>a.csv
echo d >&3
LD_PRELOAD= flock -n a.csv.lock true && echo 'not locked' >&2
exec 3>&-
sort <a.csv >sorted.csv
{ read -r first; read -r second; } <a.csv
echo "$first $second $(wc -l <a.csv)"
perl -e 'open my $f, "+<", "sorted.csv" or die; my @l = <$f>; seek $f, 0, 0; truncate $f, 0;
    print $f reverse @l; close $f or die; print "perl $l[0]"'
python3 - <<'EOT'
import os, subprocess, sys, tempfile
with open("a.csv", "a") as f:
    f.write("e\n")
subprocess.run(["cat", "a.csv"], stdout=open("copy.csv", "w"), check=True)
pid = os.posix_spawn("/bin/cat", ["cat", "copy.csv"], os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, "spawned.csv", os.O_WRONLY | os.O_CREAT, 0o644)])
print("python", os.waitpid(pid, 0)[1], open("spawned.csv").read() == open("copy.csv").read())
fd, name = tempfile.mkstemp(suffix=".csv", dir=".")
os.write(fd, b"x"); os.close(fd); os.unlink(name)
EOT
sed -n 2p copy.csv
cp copy.csv copy2.csv && cmp copy.csv copy2.csv
cat missing.csv
dd if=a.csv of=dd.csv bs=1 count=3 2>/dev/null
tar cf - a.csv copy.csv | tar tf -
stat -c '%n %a %U' dd.csv
EOF

# run PATTERNS LIBRARIES COMMAND...
run() {
    local patterns=$1 preload=$2
    shift 2
    env $variables AUTOLOCK_PATTERNS="$patterns" LD_PRELOAD="$preload" timeout -k 1 60 "$@"
}

# The files that a run leaves, without the sidecars, and what is in them.
result() {
    (cd "$1" && find . -type f ! -name '*.lock' | sort | xargs -r cat -v /dev/null)
}

run_bare() {
    rm -rf bare
    mkdir bare
    (cd bare && run '*.csv' "$1" bash ../work.sh >../bare.out 2>../bare.err)
    bare_status=$?
    grep -q 'not locked' bare.err || fail 'the comparison is locked as well'
}

compare() {
    local name=$1 with=$2
    rm -rf ours
    mkdir ours
    (cd ours && run '*.csv' "$with" bash ../work.sh >../ours.out 2>../ours.err)
    [ "$?" = "$bare_status" ] || fail "$name: ends with another status than $bare_status: $(tail -n 3 ours.err)"
    # Bare it says, of course, that there is no lock.
    diff <(grep -v 'not locked' bare.err) ours.err >difference || fail "$name: standard error: $(cat difference)"
    diff bare.out ours.out >difference || fail "$name: output: $(cat difference)"
    diff <(result bare) <(result ours) >difference || fail "$name: files: $(cat difference)"
    [ -e ours/a.csv.lock ] || fail "$name: no lock was made"
}

count() {
    local name=$1 with=$2 pids=() pid
    echo 0 >count.csv
    for _ in 1 2 3 4; do
        run '*.csv' "$with" "$legacy" count.csv 25 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || fail "$name: a counter failed"
    done
    [ "$(cat count.csv)" = 100 ] || fail "$name: counted $(cat count.csv) instead of 100"
}

# A lock that cannot be had: the time goes on also where another library says
# what time it is.
time_out() {
    local name=$1 with=$2 status
    : >taken.csv.lock
    flock taken.csv.lock env $variables AUTOLOCK_PATTERNS='*.csv timeout=100ms nested=wait' \
        LD_PRELOAD="$with" timeout -k 1 30 dd if=/dev/null of=taken.csv 2>taken.err
    status=$?
    [ "$status" = 1 ] && grep -q 'timeout after 100 ms' taken.err ||
        fail "$name: status $status instead of a timeout: $(cat taken.err)"
}

both_ways() {
    local name=$1 other=$2
    run_bare "$other"
    compare "$name behind ours" "$library:$other"
    compare "$name before ours" "$other:$library"
    count "$name behind ours" "$library:$other"
    count "$name before ours" "$other:$library"
    time_out "$name behind ours" "$library:$other"
    time_out "$name before ours" "$other:$library"
}

variables=
if [ "$inside" = fakeroot ]; then # started by it: $preloaded is its library
    both_ways fakeroot "$preloaded"
    exit "$failed"
fi
both_ways eatmydata "$(find_library libeatmydata.so)"
both_ways jemalloc "$(find_library libjemalloc.so.2)"
both_ways tcmalloc "$(find_library libtcmalloc_minimal.so.4)"
faketime=$(find_library faketime/libfaketime.so.1)
variables='FAKETIME=-10d' # the clock goes, from another day on
both_ways faketime "$faketime"
variables='FAKETIME=2020-12-24T20:30:00 FAKETIME_FMT=%Y-%m-%dT%T' # it stands still
time_out 'faketime that stands still, before ours' "$faketime:$library"
time_out 'faketime that stands still, behind ours' "$library:$faketime"
fakeroot bash "$script" "$library" "$legacy" fakeroot || fail 'fakeroot'

[ "$failed" = 0 ] && echo 'ok - eatmydata, jemalloc, tcmalloc, faketime and fakeroot, before and behind'
exit "$failed"
