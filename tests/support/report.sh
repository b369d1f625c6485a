# shellcheck shell=bash
# Sourced by tests in bash: a line for each case, and the exit status for all of them.
# What a skipped case prints, and the status 77, is explained in skips.h.
passed=0 failed=0 skipped=0

ok() {
    passed=$((passed + 1))
    echo "ok $((passed + failed)) - $1"
}

# not_ok CASE [LINE]...
not_ok() {
    failed=$((failed + 1))
    echo "not ok $((passed + failed)) - $1"
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@"
}

# skip CASE REASON
skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    [ "$passed" -eq 0 ] || exit 0
    [ "$skipped" -eq 0 ] || exit 77
    exit 1 # there is no case in it
}
