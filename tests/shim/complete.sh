#!/usr/bin/env bash
# complete.sh COMPILER LIBC SYMBOLS.DEF UNWRAPPED.LIST
#
# Every function that the C library exports, and whose name says that it opens,
# closes, duplicates, makes files, gives them away or starts processes, is wrapped
# or stands on the list of those that are not, with its reason. So does every other
# spelling of a function that is wrapped.
set -u
export LC_ALL=C
compiler=$1 libc=$2 table=$3 list=$4
failed=0
fail() {
    printf 'not ok - %s\n' "$1"
    failed=1
}

exported=$(nm -D --defined-only "$libc" | awk '{sub(/@.*/, "", $3); print $3}' | sort -u)
[ "$(wc -l <<<"$exported")" -gt 500 ] || fail "$libc was not read"
wrapped=$(printf '#include <stdio.h>\n#define WRAP(result, name, parameters) WRAPPED name\n#include "%s"\n' "$table" |
    "$compiler" -E -P -D_GNU_SOURCE -x c - | grep -o -E 'WRAPPED [A-Za-z_0-9]+' | cut -d' ' -f2 | sort -u)
[ "$(wc -l <<<"$wrapped")" -gt 40 ] || fail "$table was not read"
listed=$(grep -v -E '^(#|$)' "$list" | sed -E 's/:.*//' | sort)

unreasoned=$(grep -v -E '^(#|$|[A-Za-z_0-9]+: .{5,})' "$list")
[ -z "$unreasoned" ] || fail "on the list without a reason: $unreasoned"
twice=$(uniq -d <<<"$listed")
[ -z "$twice" ] || fail "on the list twice: $twice"
both=$(comm -12 <(printf '%s\n' "$wrapped") <(printf '%s\n' "$listed"))
[ -z "$both" ] || fail "on the list of what is not wrapped, but wrapped: $both"

other_spellings=$(while read -r name; do
    printf '%s\n' "__$name" "${name}64" "__${name}64" "__${name}_2" "__${name}64_2" "__${name}_chk" \
        "_IO_$name" "__libc_$name" "__${name}_nocancel"
done <<<"$wrapped" | sort -u | comm -12 - <(printf '%s\n' "$exported"))
concerned=$( (grep -i -E 'open|clos|dup|creat|temp|exec|spawn|fork|clone|chmod|chown|setxattr' <<<"$exported"
    printf '%s\n' "$other_spellings") | grep -v -E '^$' | sort -u)
missing=$(comm -23 <(printf '%s\n' "$concerned") <(printf '%s\n' "$wrapped" "$listed" | sort -u))
[ -z "$missing" ] || fail "exported by $libc, but neither wrapped in ${table##*/} nor, with a reason, in ${list##*/}: $(xargs <<<"$missing")"

[ "$failed" = 0 ] && echo "ok - $(wc -l <<<"$concerned") names of $libc"
exit "$failed"
