#!/usr/bin/env bash
# install.sh BUILD SOURCE COMPILER: what `cmake --install` puts where, and that
# it works from there: a program links libfilelock through pkg-config, the
# command finds its library.
set -u
build=$1 source=$2 compiler=$3
top=$(mktemp -d) || exit 1
trap 'rm -rf "$top"' EXIT
failed=0
check() {
    local what=$1
    shift
    if "$@"; then
        printf 'ok - %s\n' "$what"
    else
        printf 'not ok - %s\n' "$what"
        failed=1
    fi
}
cmake --install "$build" --prefix "$top" >"$top/log" || {
    cat "$top/log"
    exit 1
}
for file in bin/autolock include/filelock.h; do
    check "$file" test -e "$top/$file"
done
for name in libautolock.so libfilelock.so libfilelock.a filelock.pc; do
    check "$name" test -n "$(find "$top" -name "$name" -print -quit)"
done
pc=$(find "$top" -name filelock.pc -print -quit)
export PKG_CONFIG_PATH=${pc%/*}
flags=$(pkg-config --cflags --libs filelock)
library=$(dirname "$(find "$top" -name libfilelock.so -print -quit)")
declared=$(grep -o -E '\bfilelock_[a-z_]+\(' "$top/include/filelock.h" | tr -d '(' | sort -u)
exported() {
    nm --defined-only "$@" | awk 'NF == 3 {print $3}' |
        grep -v -E '^(_init|_fini|__asan|__odr_asan|__ubsan)' | sort
}
for library_file in "-D $library/libfilelock.so" "-g $library/libfilelock.a"; do
    # shellcheck disable=SC2086 # two words
    check "${library_file##*/} exports what is declared, and nothing else" \
        test "$(exported $library_file)" = "$declared"
done

cat >"$top/user.c" <<'C'
#include <filelock.h>
int main(int argc, char **argv) {
    struct filelock *lock;
    if (argc < 2 || filelock_create(&lock, argv[1], 0) < 0)
        return 2;
    FILELOCK_GUARD(guard, lock, FILELOCK_ONCE);
    return guard.error < 0 || !filelock_is_held(lock);
}
C
cp "$top/user.c" "$top/user.cc"
sanitize=
grep -q 'AUTOLOCK_SANITIZE:BOOL=ON' "$build/CMakeCache.txt" && sanitize=-fsanitize=address,undefined
run() {
    env ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH="$library" "$@"
}
# shellcheck disable=SC2086 # several words
{
    check "links with libfilelock" "$compiler" $sanitize -o "$top/user" "$top/user.c" $flags
    check "links from C++" c++ -Wall -Wextra -Wpedantic -Werror $sanitize -o "$top/user-cc" \
        "$top/user.cc" $flags
    check "the example builds" "$compiler" -Wall -Wextra -Werror $sanitize -o "$top/append" \
        "$(find "$top" -name append.c)" $flags
}
check "runs" run "$top/user" "$top/x.lock"
check "runs from C++" run "$top/user-cc" "$top/x.lock"

# Four examples and four shells with flock(1) append to one file, each line by
# itself: no record is mixed with another.
for i in {1..4}; do
    (for n in {1..10}; do run "$top/append" "$top/journal" begin "$i" "$n" end || exit; done) &
    (for n in {1..10}; do
        flock "$top/journal.lock" bash -c 'for word; do echo "$word" >>"$0"; done' \
            "$top/journal" begin "$i" "$n" end || exit
    done) &
done
wait
mixed=$(awk 'NR % 4 == 1 && $0 != "begin" || NR % 4 == 0 && $0 != "end"' "$top/journal" | wc -l)
check "the example: 80 whole records" test "$mixed $(wc -l <"$top/journal")" = '0 320'
if [ -z "$sanitize" ]; then
    check "links statically" "$compiler" -o "$top/static" "$top/user.c" -I"$top/include" \
        "$library/libfilelock.a"
    check "runs statically" "$top/static" "$top/x.lock"
    (cd "$top" && AUTOLOCK_PATTERNS='*.csv' "$top/bin/autolock" run -- sh -c 'echo 1 >>a.csv')
    check "the command finds its library" test -e "$top/a.csv.lock"
fi
exit "$failed"
