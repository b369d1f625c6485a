#!/bin/bash
# autolock run: what it keeps, what it refuses, how it fails.
# shellcheck source-path=SCRIPTDIR source=cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/cases.sh"

# --- the command runs, under the library, and nothing else changes ---

expect 'the exit status is kept: 0' 0 '' "$autolock" run true
expect 'the exit status is kept: 7' 7 '' "$autolock" run -- sh -c 'exit 7'
expect 'death by a signal is kept' 143 '' "$autolock" run sh -c 'kill -TERM $$'
# shellcheck disable=SC2016  # the inner shell's
expect 'arguments and argv[0] are kept' 0 'own 3 -- --pattern a  b' \
    "$autolock" run bash -c 'echo "$0" $# "$@"' own -- --pattern 'a  b'
expect 'options end at the command' 0 '--help' "$autolock" run printf %s --help
expect 'the library is really loaded' 0 '*libautolock.so*' \
    "$autolock" run grep -m1 -F "$library" /proc/self/maps
expect 'AUTOLOCK_STRICT is set' 0 '1' "$autolock" run printenv AUTOLOCK_STRICT
expect '--pattern replaces AUTOLOCK_PATTERNS' 0 $'*.txt\n*.dat timeout=5s' \
    "$autolock" run --pattern '*.txt' --pattern='*.dat timeout=5s' printenv AUTOLOCK_PATTERNS
bare=$(ls /proc/self/fd)
expect 'no descriptor is left open' 0 "$bare" "$autolock" run ls /proc/self/fd
expect 'run within run' 5 '' "$autolock" run "$autolock" run sh -c 'exit 5'
expect 'a script with #!' 3 'script' "$autolock" run bash -c \
    'printf "#!/bin/sh\necho script\nexit 3\n" >s1; chmod +x s1; exec ./s1'
# shellcheck disable=SC2016
printf '#! /usr/bin/env bash\necho "$BASH_VERSION"; exit 4\n' >by_env
printf 'exit 6\n' >no_line
chmod +x by_env no_line
expect 'a script through env' 4 '*.*' "$autolock" run ./by_env
expect 'a script without #! goes to /bin/sh' 6 '' "$autolock" run ./no_line

# --- LD_PRELOAD ---

if compile other.so -shared -fPIC <<<'int other;'; then
    expect 'the library stands in front of what was there' 0 "$library:$work/other.so" \
        env LD_PRELOAD="$work/other.so" "$autolock" run printenv LD_PRELOAD
    expect 'the library is not added twice' 0 "$work/other.so:$library" \
        env LD_PRELOAD="$work/other.so:$library" "$autolock" run printenv LD_PRELOAD
    mkdir another && cp "$library" another/
    expect 'another libautolock.so in LD_PRELOAD is refused' 125 '*another libautolock.so*' \
        env LD_PRELOAD="$work/another/libautolock.so" "$autolock" run true
else
    skip 'LD_PRELOAD' "no compiler ($(head -1 compile.log))"
fi

# --- 126 and 127, as env(1) has them ---

mkdir first second && cp /bin/true second/found_later
printf 'not executable\n' >first/found_later
printf 'not executable\n' >first/forbidden
printf '#!/no/such/interpreter\n' >lost && chmod +x lost
printf '#!%s/loop\n' "$work" >loop && chmod +x loop
like_env() {
    local name=$1 status
    shift
    env PATH="$work/first::$work/second:$PATH" "$@" >/dev/null 2>&1
    status=$?
    expect "as env(1), $status: $name" "$status" '*' \
        env PATH="$work/first::$work/second:$PATH" "$autolock" run "$@"
}
like_env 'a name that is not in PATH' no_such_command
like_env 'a path that is not there' ./no_such_command
like_env 'an empty name' ''
like_env 'a directory' /tmp
like_env 'a file in a file' /etc/passwd/x
like_env 'found, but not executable' forbidden
like_env 'found later in PATH' found_later
like_env 'found in the working directory, by an empty element of PATH' no_line
like_env 'an interpreter that is not there' ./lost
like_env 'a script that interprets itself' ./loop
expect 'a message says so' 127 "autolock: cannot run 'no_such_command': No such file*" \
    env PATH=/usr/bin:/bin "$autolock" run no_such_command
expect 'without PATH the default one counts' 9 '' env -u PATH "$autolock" run sh -c 'exit 9'

# --- 125 ---

expect 'no command' 125 '*no command is given*' "$autolock" run --pattern '*.csv'
expect 'an unknown option' 125 '*--nonsense*' "$autolock" run --nonsense true
expect 'an unknown subcommand' 125 '*nonsense*' "$autolock" nonsense
expect 'no rules' 125 '*there are no rules*' env AUTOLOCK_PATTERNS= "$autolock" run true
expect 'rules that only take files out' 125 '*there are no rules*' \
    env AUTOLOCK_PATTERNS='!*.csv' "$autolock" run true
expect 'AUTOLOCK=off runs without rules' 8 '' \
    env AUTOLOCK=off AUTOLOCK_PATTERNS= "$autolock" run sh -c 'exit 8'
expect 'a faulty rule' 125 "AUTOLOCK_PATTERNS:1: *: 'nonsense=1'*" \
    "$autolock" run --pattern '*.csv nonsense=1' echo started
expect 'the faulty one of two rules' 125 "AUTOLOCK_PATTERNS:2: *: 'nonsense=1'*" \
    "$autolock" run --pattern '*.csv' --pattern '*.txt nonsense=1' echo started
expect 'the second step by hand' 125 '*did not load*' "$autolock" run-loaded /bin/true true

# The library where it is not, cannot be loaded, or cannot be named.
mkdir alone broken 'with blank' 'with:colon' prefix prefix/bin prefix/lib
cp "$autolock" alone/
cp "$autolock" broken/ && echo garbage >broken/libautolock.so
cp "$autolock" "$library" 'with blank/'
cp "$autolock" "$library" 'with:colon/'
cp "$autolock" prefix/bin/ && cp "$library" prefix/lib/
if "$autolock" run true && output=$(alone/autolock run true 2>&1); then
    skip 'the library is missing' 'one is installed where autolock looks as well'
else
    expect 'the library is missing' 125 '*cannot find libautolock.so*' alone/autolock run true
fi
expect 'ld.so cannot load the library' 125 "*'echo' is not started: ld.so did not load*" \
    broken/autolock run echo started
expect 'a blank in the path of the library' 0 '*libautolock.so*' \
    'with blank/autolock' run grep -m1 -F "$work/with blank/libautolock.so" /proc/self/maps
expect 'LD_LIBRARY_PATH is kept' 0 "$work/with blank:/no/where" \
    env LD_LIBRARY_PATH=/no/where 'with blank/autolock' run printenv LD_LIBRARY_PATH
expect 'a blank, and run within run' 0 "libautolock.so $work/with blank" \
    'with blank/autolock' run 'with blank/autolock' run \
    sh -c 'echo "$LD_PRELOAD $LD_LIBRARY_PATH"'
expect 'without a blank LD_LIBRARY_PATH is not set' 1 '' \
    env -u LD_LIBRARY_PATH "$autolock" run printenv LD_LIBRARY_PATH
expect 'a colon in the path of the library' 125 '*a colon or a semicolon*' \
    'with:colon/autolock' run echo started
expect 'an install tree can be moved' 0 "$work/prefix/lib/libautolock.so" \
    prefix/bin/autolock run printenv LD_PRELOAD

# --- programs that would run unprotected ---

refused="*would go unlocked"
if compile static -static <<<'int main(void) { return 0; }'; then
    expect 'a static program is refused' 125 "*'./static': it is statically linked$refused" \
        "$autolock" run ./static
    printf '#!%s/static\n' "$work" >static_script
    printf '#!/usr/bin/env static\n' >static_env
    printf '#!/usr/bin/env -S static -x\n' >static_env_s
    chmod +x static_script static_env static_env_s
    expect 'a script that a static program runs' 125 "*'$work/static', which runs it, is static*" \
        "$autolock" run ./static_script
    expect 'a script that env(1) hands to it' 125 "*which runs it, is static*" \
        env PATH="$work:$PATH" "$autolock" run ./static_env
    expect 'a script that env -S hands to it' 125 "*which runs it, is static*" \
        env PATH="$work:$PATH" "$autolock" run ./static_env_s
    expect 'AUTOLOCK=off refuses nothing' 0 '' env AUTOLOCK=off "$autolock" run ./static
else
    skip 'a static program' "cc -static does not work here ($(head -1 compile.log))"
fi
if compile pie -static-pie <<<'int main(void) { return 0; }'; then
    expect 'a static-pie program is refused' 125 "*'./pie': it is statically linked$refused" \
        "$autolock" run ./pie
else
    skip 'a static-pie program' "cc -static-pie does not work here ($(head -1 compile.log))"
fi
if compile loader -Wl,--dynamic-linker=/no/such/loader <<<'int main(void) { return 0; }'; then
    expect 'a program of another C library is refused' 125 "*another C library$refused" \
        "$autolock" run ./loader
else
    skip 'a program of another C library' 'no compiler'
fi
# The same program with another machine number (bytes 18 and 19 of the header).
cp /bin/true foreign && printf '\377\376' | dd of=foreign bs=1 seek=18 conv=notrunc status=none
expect 'a program for another machine is refused' 125 '*another kind of machine*' \
    "$autolock" run ./foreign
head -c 40 /bin/true >shortened && chmod +x shortened
expect 'a damaged program' 126 '*Exec format error' "$autolock" run ./shortened

unprivileged=(setpriv --reuid=65534 --regid=65534 --clear-groups)
cp "$(command -v id)" id_setuid
cp "$(command -v id)" id_setgid
if [ "$(id -u)" -ne 0 ]; then
    skip 'a set-user-ID program' 'only root can make one for another user'
elif ! { chown nobody id_setuid && chmod u+s id_setuid && [ "$(./id_setuid -u)" = 65534 ]; }; then
    skip 'a set-user-ID program' 'the bit has no effect here'
else
    expect 'a set-user-ID program is refused' 125 "*it is set-user-ID$refused" \
        "$autolock" run ./id_setuid
    chown root id_setuid && chmod u+s id_setuid
    expect 'one that changes nothing for this user runs' 0 '0' "$autolock" run ./id_setuid -u
    chgrp nogroup id_setgid && chmod g+s id_setgid
    expect 'a set-group-ID program is refused' 125 "*it is set-group-ID$refused" \
        "$autolock" run ./id_setgid
fi
cp /bin/true with_capability
if [ "$(id -u)" -ne 0 ] || ! command -v setcap >/dev/null || ! command -v setpriv >/dev/null; then
    skip 'a program with capabilities' 'this needs root, setcap and setpriv'
elif ! setcap cap_net_raw+ep with_capability 2>compile.log; then
    skip 'a program with capabilities' "setcap does not work here ($(head -1 compile.log))"
elif ! "${unprivileged[@]}" "$autolock" --version >/dev/null 2>&1; then
    skip 'a program with capabilities' 'another user cannot reach the build directory'
else
    expect 'a program with capabilities is refused' 125 "*given file capabilities$refused" \
        "${unprivileged[@]}" "$autolock" run ./with_capability
    expect 'they change nothing for root' 0 '' "$autolock" run ./with_capability
fi

finish
