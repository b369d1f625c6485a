#!/usr/bin/env bash
# together.sh LIBRARY
#
# Several of a real program at once on one file, with the option hold that
# autolock.conf(5) advises: nothing is lost, nobody sees half a file.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

# shellcheck source=crowd.sh
. "$here/crowd.sh"

lines 'tee -a' tee "$open" 'echo $job | tee -a a.csv >/dev/null'
lines 'dd oflag=append' dd "$open" 'echo $job | dd of=a.csv oflag=append conv=notrunc status=none'
lines 'sort -o' sort "$keep" 'echo $job | sort -o a.csv - a.csv'
lines 'shuf -o' shuf "$keep" 'echo $job >>a.csv; shuf -o a.csv a.csv'
lines 'sed -i' sed "$keep" 'sed -i "\$a $job" a.csv'
lines 'perl -i' perl "$keep" 'job=$job perl -i -pe "\$_ .= qq(\$ENV{job}\n) if \$. == 1" a.csv'
lines 'gawk -i inplace' gawk "$keep" 'gawk -i inplace -v job=$job "{print} ENDFILE {print job}" a.csv'
lines 'ed' ed "$keep" 'printf "%s\n" "\$a" $job . w q | ed -s a.csv'
# edit!: vim looks at the file's time before the open that waits. After a wait it
# takes what it has read for outdated, asks, and here would not write.
lines 'vim' vim "$keep" 'vim -u NONE -es -n -c edit! -c "normal Go$job" -c wq a.csv </dev/null'
lines 'cp of a changed copy' cp "$keep" 'perl -e "
    use File::Copy; open F, q(a.csv); @l = <F>; close F;
    open T, qq(>t.$i); print T @l, qq($job\n); close T; copy(qq(t.$i), q(a.csv)) or exit 1"'
lines 'mv of a changed copy' perl "$keep" 'perl -e "open F, q(a.csv); @l = <F>; close F;
    open T, qq(>t.$i); print T @l, qq($job\n); close T; rename(qq(t.$i), q(a.csv)) or exit 1"'
lines 'python3 tempfile and os.replace' "$python" "$keep" 'job=$job $python -c "
import os, tempfile
with open(\"a.csv\") as f: text = f.read()
with tempfile.NamedTemporaryFile(\"w\", dir=\".\", delete=False) as f: f.write(text + os.environ[\"job\"] + \"\n\")
os.replace(f.name, \"a.csv\")"'
counter 'python3 open' "$python" "$open" '$python -c "
with open(\"a.csv\", \"r+\") as f:
    n = int(f.read()); f.seek(0); f.write(\"%d\n\" % (n + 1))"'
counter 'python3 os.open' "$python" "$open" '$python -c "
import os
f = os.open(\"a.csv\", os.O_RDWR); n = int(os.read(f, 99)); os.pwrite(f, b\"%d\n\" % (n + 1), 0); os.close(f)"'
counter 'python3 mmap' "$python" "$open" '$python -c "
import mmap
with open(\"a.csv\", \"r+b\") as f: m = mmap.mmap(f.fileno(), 0)
n = int(m[:]); m[:] = b\"%d\n\" % (n + 1); m.close()"'
counter 'python3 shutil' "$python" "$keep" '$python -c "
import shutil
n = int(open(\"a.csv\").read()); open(\"t.$i\", \"w\").write(\"%d\n\" % (n + 1)); shutil.copyfile(\"t.$i\", \"a.csv\")"'
counter 'ruby' ruby "$open" 'ruby -e "File.open(%q(a.csv), %q(r+)) { |f| n = f.read.to_i; f.rewind; f.puts n + 1 }"'
counter 'lua' lua5.4 "$open" 'lua5.4 -e "local f = io.open([[a.csv]], [[r+]]); local n = f:read([[n]]); f:seek([[set]]); f:write(math.tointeger(n) + 1, string.char(10)); f:close()"'
counter 'C++ fstream' "${stream_tool:-g++}" "$open" '$stream_tool a.csv 1'
counter 'java' "$java_needed" "$open" '$java_tool a.csv 1'
whole 'cp, read by cat' cp "$open" 'cp $i.source a.csv' 'cat a.csv'
whole 'mv, read by cat' mv "$open" 'cp $i.source t.$i; mv t.$i a.csv' 'cat a.csv'
whole 'mv, read by diff' diff "$open" 'cp $i.source t.$i; mv t.$i a.csv' 'diff a.csv /dev/null | sed "1d; s/^..//"'
# install unlinks the file and makes it anew: whoever comes in between finds none, and
# fails at once under whatever rule. So the name is locked around it, as documented.
whole 'install under flock' install "$open" 'flock a.csv.lock install -m 644 $i.source a.csv' 'flock -s a.csv.lock cat a.csv'
whole 'dd, read by tee' dd "$open" 'dd if=$i.source of=a.csv status=none' 'tee </dev/null; cat a.csv'
whole 'truncate and write, read by sort' truncate "$open" '{ truncate -s 0 /dev/fd/3; cat $i.source >&3; } 3<>a.csv' 'sort a.csv'
# tar reads as many bytes as the file had before the open that waits, so the
# others here must not empty it.
whole 'tar' tar "$open" 'dd if=$i.source of=a.csv conv=notrunc status=none' 'tar cf - a.csv | tar xOf -'
whole 'gzip' gzip "$open" 'cp $i.source a.csv' 'gzip -c a.csv | gunzip'
whole 'rsync' rsync "$open" 'rsync --inplace -I $i.source a.csv' 'cat a.csv'
whole 'rsync, which renames' rsync "$open" 'rsync -I $i.source a.csv' 'rsync -I a.csv copy.$i; cat copy.$i'
whole 'split' split "$open" 'cp $i.source a.csv' 'split -n l/1 a.csv part.$i.; cat part.$i.aa'
whole 'git' git "$open" '[ -d repo.$i ] || git init -q repo.$i; cp $i.source a.csv' 'git -C repo.$i hash-object -w ../a.csv | xargs git -C repo.$i cat-file blob'

# One repository for all, in which every file matches. Git itself fails where another
# has its index, so it is tried again.
if have_or_skip 'git, in one repository (*)' git; then
    begin
    git init -q repo
    at_once '* timeout=50s' 'cd repo; echo $job >>a.csv; git add a.csv; cd ..
        until git -C repo commit -qam $job || git -C repo diff --quiet HEAD; do :; done' >log 2>&1
    if [ "$(git -C repo show HEAD:a.csv | sort -u | wc -l)" = $((PROCESSES * TIMES)) ] &&
        git -C repo fsck >>log 2>&1 && [ -e repo/a.csv.lock ]; then
        ok 'git, in one repository (*)'
    else
        not_ok "git, in one repository (*): $(git -C repo show HEAD:a.csv | wc -l) $(tail -n 5 log)"
    fi
fi

if have_or_skip sqlite3 sqlite3; then
    for mode in delete wal; do
        begin
        sqlite3 d.db "pragma journal_mode=$mode; create table t(a); insert into t values(0)" >/dev/null
        at_once '*.db timeout=50s' "sqlite3 d.db 'update t set a = a + 1'" >log 2>&1
        result=$(sqlite3 d.db 'select a from t; pragma integrity_check')
        if [ "$result" = "$((PROCESSES * TIMES))"$'\n'ok ]; then
            ok "sqlite3, journal_mode=$mode"
        else
            not_ok "sqlite3, journal_mode=$mode: $result $(tail -n 3 log)"
        fi
    done

    # O7: sqlite's own record locks survive what goes on beside them: another
    # sqlite, which knows nothing of us, is kept out.
    begin
    echo 1 >b.csv
    sqlite3 d.db 'create table t(a)'
    coproc SQL { under '*.db readers=none:*.csv' sqlite3 d.db 2>&1; }
    sql_in=${SQL[1]} sql_out=${SQL[0]}
    printf '%s\n' 'begin exclusive;' '.import b.csv t' '.output c.csv' 'select * from t;' '.output' \
        'attach "e.db" as e;' '.shell cat b.csv >/dev/null' 'select "ready";' >&"$sql_in"
    read -r -t 30 answer <&"$sql_out"
    bare=$(sqlite3 d.db 'insert into t values(2)' 2>&1)
    printf '%s\n' 'commit;' 'select count(*) from t;' >&"$sql_in"
    read -r -t 30 rows <&"$sql_out"
    eval "exec $sql_in>&-"
    wait "$SQL_PID" 2>/dev/null
    if [ "$answer" = ready ] && [[ $bare == *locked* ]] && [ "$rows" = 1 ]; then
        ok 'record locks of sqlite3 keep others out'
    else
        not_ok "record locks of sqlite3 keep others out: '$answer' '$bare' '$rows'"
    fi
fi

# What the file looked like without us, once: otherwise nothing is shown.
begin
echo 100000 >a.csv
PROCESSES=8 TIMES=1
at_once '' "$python -c \"
for i in range(300):
    with open('a.csv', 'r+') as f:
        n = int(f.read()); f.seek(0); f.write('%d\n' % (n + 1))\"" >log 2>&1
if [ "$(cat a.csv)" = 102400 ]; then
    not_ok 'control: without rules nothing was lost, so the above shows nothing'
else
    ok 'control: without rules updates are lost'
fi
finish
