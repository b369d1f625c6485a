# shellcheck shell=bash
# What the tests of the autolock command have in common. Sourced, with the build
# directory as the script's first argument. What a case prints, and
# how a script ends, is in report.sh.

set -u
# shellcheck source=../support/report.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/report.sh"
export LC_ALL=C
unset LD_PRELOAD AUTOLOCK AUTOLOCK_STRICT AUTOLOCK_PATTERNS AUTOLOCK_CONFIG AUTOLOCK_LOG

if [ $# -ne 1 ] || [ ! -x "$1/autolock" ]; then
    echo "usage: $0 BUILD_DIRECTORY (with autolock and libautolock.so in it)" >&2
    exit 2
fi
build=$(cd "$1" && pwd -P) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
work=$(cd "$work" && pwd -P)
if [[ $build == *[\ :]* ]]; then
    # What LD_PRELOAD holds is written another way then, which has its own case.
    mkdir "$work/build" && cp "$build/autolock" "$build/libautolock.so" "$work/build" || exit 2
    build=$work/build
fi
# shellcheck disable=SC2034  # the tests use them
autolock=$build/autolock library=$build/libautolock.so
# Other users must get at the programs that the tests put here.
chmod 755 "$work"
cd "$work" || exit 2
# The configuration of this machine and user is none of ours.
export XDG_CONFIG_HOME=$work/no-config
export AUTOLOCK_PATTERNS='*.csv'
# A command that is built with the address sanitizer would else refuse to start
# with anything preloaded before the sanitizer's own library.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0

# expect NAME STATUS PATTERN COMMAND...: the command ends with STATUS, and what
# it prints (both streams, in $output) matches the shell pattern.
expect() {
    local name=$1 status=$2 pattern=$3 got
    shift 3
    output=$(timeout 60 "$@" 2>&1 </dev/null)
    got=$?
    # shellcheck disable=SC2053  # it is a pattern
    if [ "$got" = "$status" ] && [[ $output == $pattern ]]; then
        ok "$name"
    else
        not_ok "$name" "expected: status $status, $pattern" "got: status $got, $output" "from: $*"
    fi
}

# compile OUTPUT [OPTION]... <SOURCE
compile() {
    local output=$1
    shift
    "${CC:-cc}" -o "$output" -x c - "$@" 2>"$work/compile.log"
}
