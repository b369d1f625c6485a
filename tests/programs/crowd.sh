# Sourced after common.sh: several shells at once on one file.

PROCESSES=4 TIMES=5
open='*.csv timeout=50s'
keep='*.csv hold=process timeout=50s'

# at_once RULES COMMANDS: PROCESSES shells; $i is the number of each, $job "$i.$n"
# of each of TIMES times. Fails if one does.
at_once() {
    local rules=$1 commands=$2 i pids=() status=0
    for ((i = 1; i <= PROCESSES; i++)); do
        i=$i TIMES=$TIMES under "$rules" bash -c \
            "for ((n = 1; n <= TIMES; n++)); do job=\$i.\$n; $commands || exit 1; done" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || status=1
    done
    return $status
}

begin() {
    rm -rf "$work/run"
    mkdir "$work/run"
    cd "$work/run" || exit 1
    : >a.csv
}

# lines NAME PROGRAM RULES COMMANDS: each time a line $job is added to a.csv.
lines() {
    have_or_skip "$1" "$2" || return
    begin
    echo first >a.csv
    at_once "$3" "$4" >log 2>&1 || { not_ok "$1: $(tail -n 3 log)"; return; }
    expected=$(for ((i = 1; i <= PROCESSES; i++)); do
        for ((n = 1; n <= TIMES; n++)); do echo $i.$n; done
    done | sort)
    if difference=$(diff <(echo "$expected") <(grep -v first a.csv | sort)); then
        ok "$1"
    else
        not_ok "$1: $(grep -c '^<' <<<"$difference") of $((PROCESSES * TIMES)) lost"
    fi
}

# counter NAME PROGRAM RULES COMMANDS: each time one is added to the number.
counter() {
    have_or_skip "$1" "$2" || return
    begin
    echo 100000 >a.csv
    at_once "$3" "$4" >log 2>&1 || { not_ok "$1: $(tail -n 3 log)"; return; }
    if [ "$(cat a.csv)" = $((100000 + PROCESSES * TIMES)) ]; then
        ok "$1"
    else
        not_ok "$1: $(cat a.csv)"
    fi
}

# whole NAME PROGRAM RULES COMMANDS CHECK: CHECK, after each time, sees a file of
# 300 equal lines.
whole() {
    have_or_skip "$1" "$2" || return
    begin
    for ((i = 0; i <= PROCESSES; i++)); do
        yes "line-$i" | head -n 300 >"$i.source"
    done
    cp 0.source a.csv
    if at_once "$3" "$4; $5 >seen.\$i; [ \$(wc -l <seen.\$i) = 300 ] && [ \$(uniq seen.\$i | wc -l) = 1 ] || { echo half a file; exit 1; }" >log 2>&1; then
        ok "$1"
    else
        not_ok "$1: $(tail -n 3 log)"
    fi
}
