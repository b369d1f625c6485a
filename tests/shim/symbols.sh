#!/usr/bin/env bash
# symbols.sh COMPILER LIBRARY SYMBOLS.DEF OBJECT...
#
# The shim exports what its table names and nothing else, without versions;
# our own code calls none of the functions that are wrapped (it would meet its
# own wrapper); and of libc it needs only what is listed here: no malloc, no
# stdio but fileno (and, at exit, fflush), nothing that takes locks on the way of an open.
set -u
export LC_ALL=C
compiler=$1 library=$2 table=$3
shift 3
failed=0
fail() {
    printf 'not ok - %s\n' "$1"
    failed=1
}

exported=$(nm -D --defined-only "$library" | awk '{print $3}' | grep -v -E '^(_init|_fini|__asan|__odr_asan|__ubsan)' | sort)
named=$( (printf '#include <stdio.h>\n#define WRAP(result, name, parameters) WRAPPED name\n#include "%s"\n' "$table" |
    "$compiler" -E -P -D_GNU_SOURCE -x c - | grep -o -E 'WRAPPED [A-Za-z_0-9]+' | cut -d' ' -f2
    echo autolock_version) | sort)
[ "$(wc -l <<<"$named")" -gt 20 ] || fail "the table was not read: $named"
difference=$(diff <(printf '%s\n' "$named") <(printf '%s\n' "$exported")) ||
    fail "table (<) and exports (>) differ: $difference"
case $exported in
*@*) fail "an export has a version" ;;
esac

undefined=$(nm -u "$@" | awk 'NF == 2 && $1 ~ /^[UVvw]$/ {print $2}' | sort -u)
[ -n "$undefined" ] || fail "the objects were not read"
own=$(comm -12 <(printf '%s\n' "$named") <(printf '%s\n' "$undefined"))
[ -z "$own" ] || fail "our own code calls what is wrapped: $own"

# What pthread_cleanup_push needs: __pthread_*, __sigsetjmp.
# What the end of a process with soft locks needs (soft_exit.c, flushing.c): __cxa_*,
# fflush and kin, std(out|err).
# fork: daemon, where there are soft locks (session.c).
# bcmp: what clang makes of a memcmp whose sign nobody asks for.
allowed='^(_GLOBAL_OFFSET_TABLE_|__asan.*|__ubsan.*|__errno_location|__libc_single_threaded|__environ|environ|__libc_current_sigrt(min|max)|__register_atfork|__pthread_(un)?register_cancel|__pthread_unwind_next|__sigsetjmp|pthread_(atfork|setcancelstate|setcanceltype|testcancel)|__dso_handle|__cxa_atexit|(__cxa_)?at_quick_exit|__fpending|fflush|ftrylockfile|funlockfile|std(out|err)|bcmp|dl_iterate_phdr|dlsym|fileno|fork|getauxval|mem(chr|cmp|cpy|move|rchr|set)|sigaltstack|sigfillset|str(chr|cmp|len|ncmp|nlen|rchr|spn|cspn|str)|__isoc23_strtou?l|strtou?l|__stack_chk_fail)$'
defined=$(nm --defined-only "$@" | awk '{print $3}' | sort -u)
foreign=$(comm -23 <(printf '%s\n' "$undefined") <(printf '%s\n' "$defined") | grep -v -E "$allowed")
[ -z "$foreign" ] || fail "needs more of libc than it may: $foreign"

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -v -E '^(libc\.so|libc\.musl|ld-linux|libdl\.so|libasan|libubsan|libclang_rt)')
[ -z "$needed" ] || fail "depends on more than libc: $needed"
[ "$failed" = 0 ] && echo "ok - $(wc -l <<<"$exported") exports"
exit "$failed"
