#!/usr/bin/env bash
# flags.sh SOURCE COMPILER: the static library when it is built with flags of the
# user's own. It is made by a link of its own, which a compiler flag can spoil.
set -u
source=$1 compiler=$2
top=$(mktemp -d) || exit 1
trap 'rm -rf "$top"' EXIT
failed=0
check() {
    local what=$1
    shift
    if "$@" >"$top/log" 2>&1; then
        printf 'ok - %s\n' "$what"
    else
        printf 'not ok - %s\n' "$what"
        cat "$top/log"
        failed=1
    fi
}
# build NAME FLAGS: makes $top/NAME/lib/libfilelock.a.
build() {
    cmake -S "$source/tests/standalone" -B "$top/$1" -DCMAKE_C_COMPILER="$compiler" \
        -DCMAKE_C_FLAGS="$2 -Wno-unused-command-line-argument" -DCMAKE_BUILD_TYPE=None &&
        cmake --build "$top/$1" --target filelock_static -j 2
}
exports_alone() {
    [ "$(nm -g --defined-only "$1" | awk 'NF == 3 {print $3}' | sort)" = \
      "$(grep -o -E '\bfilelock_[a-z_]+\(' "$source/lib/filelock.h" | tr -d '(' | sort -u)" ]
}
cat >"$top/user.c" <<'C'
#include <filelock.h>
int clock_now(void);
int clock_now(void) { return 0; }
int main(int argc, char **argv) {
    struct filelock *lock;
    return argc < 2 || filelock_create(&lock, argv[1], 0) < 0 ||
           filelock_acquire(lock, FILELOCK_ONCE) < 0 || clock_now();
}
C
link_and_run() {
    # shellcheck disable=SC2086 # several words
    "$compiler" $2 -I"$source/lib" -o "$top/user" "$top/user.c" "$1" -pthread &&
        env ASAN_OPTIONS=detect_leaks=0 "$top/user" "$top/x.lock"
}

check "builds with -flto" build lto -flto
archive=$top/lto/lib/libfilelock.a
check "-flto: exports filelock_* alone" exports_alone "$archive"
check "-flto: a program links with it, and runs" link_and_run "$archive" ""
check "-flto: so does one with -flto itself" link_and_run "$archive" -flto

# -m32 or --sysroot would do; this one can be seen everywhere.
check "builds with a flag that the linker sees" build map "-Wl,-Map=$top/linked"
check "the flags reach the link of the objects" grep -q filelock_objects "$top/linked"

check "builds with a sanitizer and -pie" build many "-fPIE -pie -fsanitize=address,undefined"
check "a program with the sanitizer links with it, and runs" \
    link_and_run "$top/many/lib/libfilelock.a" -fsanitize=address,undefined
exit "$failed"
