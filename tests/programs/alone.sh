#!/usr/bin/env bash
# alone.sh LIBRARY
#
# Real programs do their ordinary job on matching files, alone: output, status
# and files must be those of a run without the shim. Sidecars aside.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

# shellcheck source=compare.sh
. "$here/compare.sh"

csv='*.csv timeout=20s'
all='* timeout=20s'
keep='*.csv* hold=process timeout=20s'

for rules in "$csv" "$all" "$keep"; do
    # The others do not replace what they have read.
    advised=$([ "$rules" = "$keep" ] && echo no)
    alone "$rules" "cp ($rules)" cp 'cp a.csv b.csv && cp -p a.csv sub/ && cp --remove-destination b.csv sub/a.csv && cat b.csv'
    # A tree with lock files in it; what is kept locked to the end stays theirs.
    [ "$advised" = no ] || alone "$rules" "cp -r ($rules)" cp 'mkdir t; ln -s . l; cp a.csv b.csv plain.txt t; cp -r t u; cp -a u/. sub; cp -r u l/v; cp -r t u; cat u/a.csv'
    alone "$rules" "mv ($rules)" mv 'mv a.csv b.csv; mv b.csv sub/c.csv; mv -n sub/c.csv n.csv; mv missing.csv x.csv; ls -1 --ignore="*.lock"'
    alone "$rules" "tee ($rules)" tee 'sort a.csv | tee b.csv sub/new.csv; echo more | tee -a b.csv'
    alone "$rules" "sort -o ($rules)" sort 'sort -o a.csv a.csv; sort -m -o b.csv a.csv b.csv; cat a.csv b.csv'
    alone "$rules" "shuf -o ($rules)" shuf 'shuf --random-source=long.csv -o a.csv a.csv; cat a.csv'
    [ "$advised" = no ] || alone "$rules" "split ($rules)" split 'split -l 500 --additional-suffix=.csv long.csv part-; cat part-*.csv | md5sum'
    [ "$advised" = no ] || alone "$rules" "dd ($rules)" dd 'printf XY | dd of=a.csv bs=1 seek=2 conv=notrunc status=none; dd if=a.csv of=sub/d.csv status=none; cat sub/d.csv'
    [ "$advised" = no ] || alone "$rules" "truncate ($rules)" truncate 'truncate -s 3 a.csv; truncate -s +2 b.csv; truncate -s 5 sub/new.csv; truncate -r a.csv n.csv'
    [ "$advised" = no ] || alone "$rules" "install ($rules)" install 'install -m 600 a.csv b.csv; install -D a.csv sub/deep/a.csv; install -b a.csv b.csv'
    alone "$rules" "rm, ln, rmdir ($rules)" rm 'ln a.csv sub/h; ln -s ../a.csv sub/s.csv; cat sub/s.csv; rm a.csv b.csv; rm missing.csv; rm -r sub; ls -1 --ignore="*.lock"'
    [ "$advised" = no ] || alone "$rules" "a pipeline that reads one file twice ($rules)" diff 'cat a.csv a.csv | wc -l; paste a.csv a.csv; join -t, <(sort a.csv) <(sort a.csv); cat <(cat a.csv) a.csv | sort | uniq -c'
    [ "$advised" = no ] || alone "$rules" "diff ($rules)" diff 'diff a.csv b.csv; diff a.csv a.csv; diff -u --label a --label b <(sort a.csv) a.csv; cat a.csv | diff - a.csv; cp a.csv sub; diff -rq -x "*.lock" . sub; diff missing.csv a.csv; cmp a.csv b.csv; comm <(sort a.csv) <(sort b.csv)'
    alone "$rules" "sed -i ($rules)" sed 'sed -i s/a/A/ a.csv; sed -i.bak -e "1d" a.csv b.csv; sed -n "\$p" a.csv; sed "w sub/w.csv" b.csv'
    alone "$rules" "perl -i ($rules)" perl 'perl -i -pe "s/,/;/" a.csv b.csv; perl -e "open F, q(+<), q(n.csv); print F 7; close F; rename q(n.csv), q(m.csv); unlink q(b.csv)"'
    alone "$rules" "gawk -i inplace ($rules)" gawk 'gawk -i inplace "{print NR \":\" \$0}" a.csv b.csv; gawk "{print > \"sub/o.csv\"} END {close(\"sub/o.csv\"); while ((getline l < \"sub/o.csv\") > 0) print l}" a.csv'
    alone "$rules" "ed ($rules)" ed 'printf "%s\n" "1a" "new" "." "w" "q" | ed -s a.csv; printf "%s\n" "r b.csv" "w sub/e.csv" "q" | ed -s a.csv'
    alone "$rules" "vim ($rules)" vim 'vim -u NONE -es -c "%s/a/A/" -c wq a.csv </dev/null; vim -u NONE -es -c "set backup" -c "normal Gox" -c "wq" b.csv </dev/null'
    [ "$advised" = no ] || alone "$rules" "tar ($rules)" tar 'tar cf sub/t.tar a.csv b.csv; tar tf sub/t.tar; mkdir x; tar xf sub/t.tar -C x; tar xf sub/t.tar; tar rf sub/t.tar n.csv; tar czf sub/z.tar.gz x/a.csv; tar tzf sub/z.tar.gz'
    [ "$advised" = no ] || alone "$rules" "gzip ($rules)" gzip 'gzip long.csv; zcat long.csv.gz | md5sum; gunzip long.csv.gz; gzip -k long.csv; gzip -f long.csv; ls -1 --ignore="*.lock"'
    alone "$rules" "rsync ($rules)" rsync 'rsync -a --exclude "*.lock" ./ --exclude dst dst; echo 4,d >>a.csv; rsync -a --inplace a.csv dst/; rsync --remove-source-files b.csv dst/; rsync -ac --delete --exclude "*.lock" sub/ dst/sub'
    alone "$rules" "python3 ($rules)" "$python" "$python -c '
import mmap, os, shutil, tempfile
with open(\"a.csv\", \"r+\") as f:
    print(f.read(3)); f.seek(0); f.write(\"7\")
fd = os.open(\"new.csv\", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640); os.write(fd, b\"1234\"); os.close(fd)
with open(\"a.csv\", \"r+b\") as f:
    m = mmap.mmap(f.fileno(), 0)
m[1:2] = b\";\"; print(len(m)); m.flush(); m.close()
shutil.copy(\"a.csv\", \"b.csv\"); shutil.copytree(\"sub\", \"copy\"); shutil.move(\"b.csv\", \"sub/moved.csv\")
with tempfile.NamedTemporaryFile(\"w\", dir=\".\", suffix=\".csv\", delete=False) as f:
    f.write(\"temporary\"); name = f.name
os.replace(name, \"a.csv\"); os.remove(\"new.csv\"); os.truncate(\"long.csv\", 10)
with tempfile.TemporaryFile(dir=\".\") as f: f.write(b\"x\")
try: open(\"missing.csv\")
except FileNotFoundError as e: print(e)
'"
    alone "$rules" "ruby ($rules)" ruby 'ruby -e "File.open(%q(a.csv), %q(r+)) { |f| puts f.read; f.rewind; f.write %q(9) }; IO.write(%q(b.csv), %q(b)); File.rename(%q(b.csv), %q(c.csv)); File.truncate(%q(long.csv), 4); require %q(fileutils); FileUtils.cp(%q(a.csv), %q(sub/r.csv))"'
    [ "$advised" = no ] || alone "$rules" "lua ($rules)" lua5.4 'lua5.4 -e "local f = io.open([[a.csv]], [[r+]]); print(f:read([[a]])); f:seek([[set]]); f:write([[8]]); f:close(); os.rename([[b.csv]], [[c.csv]]); os.remove([[c.csv]]); for l in io.lines([[a.csv]]) do print(l) end"'
    [ "$advised" = no ] || alone "$rules" "C++ fstream ($rules)" "${stream_tool:-g++}" '$stream_tool n.csv 5'
    [ "$advised" = no ] || alone "$rules" "java ($rules)" "$java_needed" '$java_tool n.csv 3'
done

git_job='git init -q repo; cd repo; cp ../a.csv ../plain.txt .; git add a.csv plain.txt; git commit -qm one; echo 4,d >>a.csv; git diff --stat; git commit -qam two; git checkout -q -b side HEAD~; cat a.csv; echo 5 >>plain.txt; git commit -qam three; git merge -q -m four - ; git log --oneline --format=%H%s; git mv a.csv b.csv; git rm -q plain.txt; git commit -qm five; git stash list; git fsck; git gc -q; git status --short | grep -v "\.lock$"'
alone "$csv" 'git (*.csv)' git "$git_job"
alone "$all" 'git (*)' git "$git_job"
bare_job='git init -q --bare r.git; git init -q w; cd w; cp ../a.csv .; git add a.csv; git commit -qm one; git push -q ../r.git HEAD:refs/heads/main; echo 4,d >>a.csv; git commit -qam two; git push -q ../r.git HEAD:refs/heads/main; cd ../r.git; git symbolic-ref HEAD refs/heads/main; git config a.b 1; git config a.b 2; git gc -q; git fsck; git log --format=%H%s; cd ..; git clone -q r.git c; cat c/a.csv; rm -rf r.git w/.git c/.git'
alone "$csv" 'git, a bare repository (*.csv)' git "$bare_job"
alone "$all" 'git, a bare repository (*)' git "$bare_job"

for mode in delete wal; do
    for rules in '*.db timeout=20s' "$all" '*.db* hold=process timeout=20s'; do
        alone "$rules" "sqlite3, journal_mode=$mode ($rules)" sqlite3 "sqlite3 d.db 'pragma journal_mode=$mode; create table t(a,b);'; sqlite3 -csv d.db '.import a.csv t' 'select * from t'; sqlite3 d.db 'begin; insert into t values(7,7); savepoint s; delete from t; rollback to s; commit; vacuum; select count(*) from t; pragma integrity_check'; sqlite3 d.db '.backup e.db'; sqlite3 d.db 'attach \"e.db\" as e; insert into e.t select * from t; select count(*) from e.t'; sqlite3 d.db .dump | md5sum"
    done
done

finish
