#!/usr/bin/env bash
# skips_told.sh SOURCE SKIPPING SKIPPING_STANDALONE CTEST: tests that skip all of their
# cases, some, or some beside one that fails, run by ctest, as the presets do it, four at
# once, and listed by skips.sh.
source=$1 skipping=$2 standalone=$3 ctest=$4
# shellcheck source=support/report.sh
. "$source/tests/support/report.sh"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

tests=
# run NAME COMMAND...
run() {
    local name=$1 word line=
    shift
    for word; do
        line+=" [==[$word]==]"
    done
    tests+=" $name"
    printf 'add_test(%s%s)\nset_tests_properties(%s PROPERTIES SKIP_RETURN_CODE 77)\n' \
        "$name" "$line" "$name" >>CTestTestfile.cmake
}
in_bash() {
    printf '. "%s/tests/support/report.sh"; %s; finish' "$source" "$1"
}
for name in partly wholly badly; do
    run "$name" "$skipping" --filter "$name/*"
done
run alone_partly "$standalone" 'left out' fails
run alone_wholly "$standalone" 'left out' fails passes
run alone_badly "$standalone" 'left out' passes
run bash_partly bash -c "$(in_bash 'ok one; skip two "no two"')"
run bash_wholly bash -c "$(in_bash 'skip three "no three"')"
run bash_badly bash -c "$(in_bash 'ok one; skip four "no four"; not_ok five')"
run bash_nothing bash -c "$(in_bash :)"
run inner "$ctest" --verbose -R '^(partly|wholly)$' --test-dir "$work/inner"
mkdir inner
grep -A1 -E '^add_test\((partly|wholly) ' CTestTestfile.cmake | grep -v '^--' >inner/CTestTestfile.cmake
cat >>CTestTestfile.cmake <<END
add_test(skips "$source/tests/skips.sh" "$work/Testing/Temporary")
set_tests_properties(skips PROPERTIES DEPENDS "${tests//' '/;}")
END
"$ctest" --verbose --parallel 4 >log 2>&1

# expect WHAT PATTERN: the run's output has a line that matches.
expect() {
    if grep -q -E -- "$2" log; then
        ok "$1"
    else
        not_ok "$1" "no line matches: $2"
    fi
}
for kind in '' alone_ bash_; do
    expect "${kind}partly: passed" " ${kind}partly \.+ +Passed"
    expect "${kind}wholly: skipped" " ${kind}wholly \.+\*\*\*Skipped"
    expect "${kind}badly: failed" " ${kind}badly \.+\*\*\*Failed"
done
expect 'no case at all is a failure' ' bash_nothing \.+\*\*\*Failed'
while read -r line; do
    expect "listed: $line" "^[0-9]+: $line\$"
done <<'END'
partly, partly::is_skipped: for a reason
wholly, wholly::is_skipped_too: for another reason
badly, badly::is_skipped_beside_it: for a third reason
alone_partly, partly::is_skipped: for a reason
alone_partly, badly::fails: left out
alone_wholly, partly::passes: left out
alone_badly, badly::is_skipped_beside_it: for a third reason
bash_partly, two: no two
bash_wholly, three: no three
bash_badly, four: no four
inner, partly::is_skipped: for a reason
inner, wholly::is_skipped_too: for another reason
Skipped cases: 21
END
# The list comes after all others, and ctest's summary after it.
expect 'the list is the last' '^12/12 Test #12: skips .* Passed'
[ "$failed" -eq 0 ] || sed "s/^/    /" log
finish
