# Sourced after common.sh: the same commands with the shim and without it, in a
# directory of their own each time.

prepare() {
    mkdir -p "$1/sub"
    cd "$1" || exit 1
    printf '%s\n' 3,c 1,a 2,b >a.csv
    printf '%s\n' 9,z 8,y >b.csv
    echo 0 >n.csv
    seq 1 2000 >long.csv
    printf 'x\n' >plain.txt
}

# Names, modes and contents of what is there.
listing() {
    find . -name .git -prune -o ! -name '*.lock' -printf '%p %M %l\n' | sort
    find . -name .git -prune -o -type f ! -name '*.lock' ! -name '*.gz' ! -name '*.tar*' \
        ! -name '*.db*' -print0 | sort -z | xargs -0r md5sum
}

# alone RULES NAME COMMANDS...: the same twice.
alone() {
    local rules=$1 name=$2 program=$3 commands=$4 side
    have_or_skip "$name" "$program" || return
    for side in bare shim; do
        rm -rf "$work/run"
        mkdir "$work/run"
        (
            prepare "$work/run"
            if [ $side = bare ]; then
                timeout -k 1 60 bash -c "$commands" >"$work/$side.out" 2>&1
            else
                under "$rules" bash -c "$commands" >"$work/$side.out" 2>&1
            fi
            echo "status $?" >>"$work/$side.out"
            listing >>"$work/$side.out"
        )
        [ $side = bare ] || find "$work/run" -name '*.lock' | grep -q . ||
            echo 'nothing was locked' >>"$work/shim.out"
    done
    if difference=$(diff "$work/bare.out" "$work/shim.out"); then
        ok "$name"
    else
        not_ok "$name: bare (<) and under the shim (>) differ"
        printf '%s\n' "$difference" | sed 's/^/    /'
    fi
}
