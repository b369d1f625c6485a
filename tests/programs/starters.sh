#!/usr/bin/env bash
# starters.sh LIBRARY
#
# Programs that start others: shells, python3, make, gcc, xargs. First alone, when
# output, status and files must be those of a run without the shim; then several at
# once, when nothing may be lost.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=compare.sh
. "$here/compare.sh"
# shellcheck source=crowd.sh
. "$here/crowd.sh"

csv='*.csv timeout=20s'

# In every shell. What busybox has built in runs as itself there.
redirections='
cat <a.csv; wc -l <long.csv; echo one >b.csv; echo two >>b.csv; cat b.csv
echo noclobber >|b.csv; set -C; echo no >b.csv 2>/dev/null || echo kept; set +C
exec 3>>b.csv; echo three >&3; printf four >&3; ls -d sub >&3; (echo sub >&3); { echo group; pwd | sed s,.*/,,; } >&3; exec 3>&-; cat b.csv
exec 4<>n.csv; read number <&4; echo "got $number" >&4; exec 4>&-; cat n.csv
exec 5<a.csv 6>sub/out.csv; while read -r line <&5; do echo "$line." >&6; done; exec 5<&- 6>&-; cat sub/out.csv
while IFS=, read -r x y; do echo "$y$x"; done <a.csv >sub/swapped.csv; cat sub/swapped.csv
cat <<END >sub/here.csv
a here-document with $((1 + 1))
$(cat a.csv)
END
cat <<"END" >>sub/here.csv
and one as it is: $HOME
END
cat sub/here.csv; sort <<-END
	2
	1
	END
ls missing >err.csv 2>&1; echo "status $?" >>err.csv; wc -l <err.csv
{ echo out; echo err >&2; } >sub/o.csv 2>sub/e.csv; cat sub/e.csv sub/o.csv
{ { echo out; echo err >&2; } 2>&1 >sub/o2.csv; } | sed s/^/piped:/
sort a.csv | tee sub/t.csv | wc -l; cat sub/t.csv; cat a.csv | cat | cat >sub/p.csv; cat sub/p.csv
(sleep 0.1; echo background) >sub/bg.csv & wait $!; echo "waited $?"; cat sub/bg.csv
echo 1 >sub/j1.csv & echo 2 >sub/j2.csv & wait; cat sub/j1.csv sub/j2.csv
for i in 1 2 3; do echo "loop $i"; done >sub/loop.csv; cat sub/loop.csv
f() { echo "function $1"; }; f x >sub/f.csv; f y >>sub/f.csv; cat sub/f.csv
text=$(cat a.csv; echo x >&2) 2>sub/sub.csv; echo "$text"; v=`wc -l <a.csv`; echo $v
if ! true >missing/x.csv; then echo "no such directory"; fi 2>/dev/null
eval "echo evaluated >sub/ev.csv"; . ./script.csv; echo $sourced
trap "echo trapped >>sub/trap.csv" EXIT
: >empty.csv; test -s empty.csv || echo empty; (exit 3) >>b.csv; echo "status $?"
exec 7>>b.csv 1>&7 7>&-; echo "the last, on standard output"'

# In those that have them.
more='
cat <(sort a.csv) <(cat b.csv); echo x | tee >(cat >sub/ps.csv) >/dev/null; sleep 0.1
cat <<<"a here-string" >sub/hs.csv; cat sub/hs.csv; echo both &>sub/both.csv; echo more &>>sub/both.csv; cat sub/both.csv
exec {fd}>>b.csv; echo named >&$fd; exec {fd}>&-; tail -n 1 b.csv
while read -r line; do echo "<$line>"; done < <(cat a.csv)'

prepare_script() {
    echo 'sourced="from a file"' >script.csv
}
eval "prepare_files() $(declare -f prepare | tail -n +2)"
prepare() {
    prepare_files "$1"
    prepare_script
    printf '%s\n' "$redirections" >redirections
    printf '%s\n' "$more" >more
    printf '%s\n' "$python_script" >starts.py
    printf '%s\n' "$multiprocessing_script" >processes.py
    mkdir -p c
    printf '%s\n' 'int one(void);' 'int main(void) { return one() - 1; }' >c/main.c
    echo 'int one(void) { return 1; }' >c/one.c
    printf '%b\n' 'all: out.csv sum.csv' 'out.csv: a.csv b.csv' '\tsort a.csv b.csv >$@' \
        'sum.csv: long.csv' '\tcksum <long.csv >$@; echo done >>$@' \
        'log: l1 l2 l3 l4' 'l1 l2 l3 l4:' '\t@printf "%s" $@ >>log.csv; sleep 0.02; echo >>$@.csv' >Makefile
}

python_script='
import os, subprocess, sys
def write(**more):
    return dict(args=["/bin/sh", "-c", "echo a; cat; echo b >&2; echo c"], **more)
for close_fds in True, False:
    for inherit in (), "pass":
        with open("b.csv", "a") as out, open("a.csv") as source:
            extra = {"pass_fds": (out.fileno(),)} if inherit and close_fds else {}
            subprocess.run(**write(stdin=source, stdout=out, stderr=subprocess.STDOUT, close_fds=close_fds, **extra), check=True)
print(open("b.csv").read())
with open("b.csv", "a") as out:                       # through a shell, in another session
    subprocess.check_call("echo shell; ls -d sub", shell=True, stdout=out, start_new_session=True)
with open("b.csv", "a") as out:                       # fork and exec, because of preexec_fn
    subprocess.check_call(["/bin/echo", "preexec"], stdout=out, preexec_fn=lambda: os.write(1, b"in the child\n"))
with open("b.csv", "ab", buffering=0) as out:         # in another directory
    subprocess.check_call(["/bin/ls", "-d", "sub"], stdout=out, cwd=".")
print(subprocess.check_output(["tail", "-n", "5", "b.csv"], text=True))
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.communicate("through pipes\n")[0], child.returncode)
print(os.system("echo system >>b.csv"), os.popen("tail -n 1 b.csv").read())
fd = os.open("n.csv", os.O_RDWR)
pid = os.posix_spawn("/bin/echo", ["echo", "spawned"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, fd, 1)])
print(os.waitpid(pid, 0)[1]); os.close(fd)
pid = os.fork()
if pid == 0:
    fd = os.open("n.csv", os.O_WRONLY | os.O_APPEND); os.dup2(fd, 1); os.close(fd)
    os.execvp("echo", ["echo", "forked"])
print(os.waitpid(pid, 0)[1], open("n.csv").read())
print(os.spawnlp(os.P_WAIT, "sh", "sh", "-c", "echo spawnlp >>n.csv"), open("n.csv").read())
try: subprocess.run(["./missing"], stdout=open("b.csv", "a"))
except FileNotFoundError as e: print(e)
try: subprocess.run(["sleep", "5"], stdout=open("b.csv", "a"), timeout=0.1)
except subprocess.TimeoutExpired as e: print(e.cmd)
print(len(os.listdir("/proc/self/fd")) < 12)'

multiprocessing_script='
import multiprocessing, sys
def add(i):
    with open("n.csv", "r+") as f:
        n = int(f.read()); f.seek(0); f.write("%d\n" % (n + 1))
    return i
def line(i):
    with open("b.csv", "a") as f: f.write("worker %d\n" % i)
if __name__ == "__main__":
    for method in "fork", "spawn", "forkserver":
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool: print(method, pool.map(add, range(10)))
        processes = [context.Process(target=line, args=(i,)) for i in range(3)]
        for p in processes: p.start(); p.join() # one after the other, for bare is without locks
        print([p.exitcode for p in processes])
    print(open("n.csv").read(), sorted(open("b.csv")))'
export redirections more python_script multiprocessing_script

for shell in bash dash 'busybox sh' zsh; do
    alone "$csv" "$shell: redirections" "${shell%% *}" "$shell redirections 2>&1"
    alone '* timeout=20s' "$shell: redirections, every file" "${shell%% *}" "$shell redirections 2>&1"
done
for shell in bash zsh; do
    alone "$csv" "$shell: more redirections" "$shell" "$shell more 2>&1"
done
alone "$csv" 'bash: lastpipe, coproc, mapfile' bash 'shopt -s lastpipe; cat a.csv | read -r x; echo $x; mapfile -t l <a.csv; echo ${#l[@]}; coproc cat >>sub/c.csv 2>&1; eval "echo c >&${COPROC[1]}; exec ${COPROC[1]}>&-"; wait; cat sub/c.csv; printf "%s\n" "$(<a.csv)"'
alone "$csv" 'perl starts programs' perl 'perl -e "
    \$| = 1; open O, q(>>), q(b.csv) or die; open STDOUT, q(>&O) or die; system q(echo), q(system); print qx(echo quoted);
    open P, q(|-), q(cat) or die; print P qq(piped\n); close P; open Q, q(-|), q(tail), q(-n1), q(a.csv) or die; print <Q>; close Q;
    if (!(my \$p = fork)) { exec q(echo), q(forked) } wait; print STDERR qq(status \$?\n)"; cat b.csv'
alone "$csv" 'python3 subprocess, os.system, posix_spawn, fork' "$python" "$python starts.py"
alone "$csv" 'python3 multiprocessing: fork, spawn, forkserver' "$python" "$python processes.py"
alone '* timeout=20s' 'python3 multiprocessing, every file' "$python" "$python -B processes.py"
alone "$csv" 'make -j2' make 'make -s -j2 all && cat out.csv sum.csv; make -j2 all; touch -d 2001-01-01 out.csv; make -j2 all; make -s -j2 out.csv missing.csv; echo $?'
# Not the system's own objects, beside which root would leave lock files.
alone '*.[cosd] timeout=20s:!/usr/**' 'gcc' gcc 'cd c && gcc -c -MD main.c && gcc -c one.c && gcc -o main main.o one.o && ./main; echo $?; gcc -pipe -save-temps -o two main.c one.c && ./two; echo $?; gcc missing.c; echo $?; cat main.d | tr -d "\\\\\n"; rm -f main two *.o *.s *.i'
alone "$csv" 'xargs -P' xargs 'seq 20 | xargs -P 4 -n 1 sh -c "echo \$0 >>b.csv"; sort -o b.csv b.csv; cat b.csv; printf "a.csv\nb.csv\n" | xargs -P 2 wc -l | sort; seq 3 | xargs -I@ -P 3 cp a.csv sub/@.csv; ls sub | grep -v lock; echo x | xargs -a a.csv echo'
alone "$csv" 'env -i, nohup, setsid, timeout' setsid 'env -i /bin/sh -c "echo emptied" >>b.csv; nohup sh -c "echo nohup" >>b.csv 2>&1; setsid sh -c "echo setsid" >>b.csv; timeout 5 sh -c "echo timeout" >>b.csv; cat b.csv | grep -v ignoring'

# Several at once: each line whole, none missing. In each case the line is put
# together by several programs that have the file one after the other.
lock=$open
cat >"$work/pieces.sh" <<'CODE'
exec 3>>a.csv
printf %s "${1%.*}" >&3
printf . >&3
(printf %s "${1#*.}" >&3)
sh -c echo >&3
exec 3>&-
CODE
cat >"$work/job.sh" <<'CODE'
{ cat <<END; sh -c 'sleep 0.01; echo .$0' "${1#*.}"; } | tr -d '\n' >>part.$1.csv &
${1%.*}
END
wait
{ cat part.$1.csv; sh -c echo; } >>a.csv &
wait
CODE
cat >"$work/count.sh" <<'CODE'
exec 4<>a.csv
read number <&4
echo $((number + 1)) | { read number; echo $number >a.csv; }
exec 4>&-
CODE
cat >"$work/starts.py" <<'CODE'
import os, subprocess, sys
i, n = sys.argv[1].split(".")
how = int(n) % 4
with open("a.csv", "a") as out:
    command = ["sh", "-c", "printf %s. $0; sleep 0.01; echo $1", i, n]
    child = subprocess.Popen(command, stdout=out, close_fds=how != 1, start_new_session=how == 2,
                             preexec_fn=(lambda: None) if how == 3 else None)
sys.exit(child.wait())
CODE
cat >"$work/processes.py" <<'CODE'
import multiprocessing, sys
def add():
    with open("a.csv", "r+") as f:
        number = int(f.read()); f.seek(0); f.write("%d\n" % (number + 1))
if __name__ == "__main__":
    method = ("fork", "spawn", "forkserver")[int(sys.argv[1]) % 3]
    process = multiprocessing.get_context(method).Process(target=add)
    process.start(); process.join(); sys.exit(process.exitcode)
CODE
printf '%b\n' 'all: x y' 'x:' '\t@echo $(job) >>x.csv' 'y:' \
    '\t@{ printf %s. $(basename $(job)); sleep 0.01; echo $(subst .,,$(suffix $(job))); } >>a.csv' \
    >"$work/lines.mk"
export work
for shell in bash dash 'busybox sh' zsh; do
    lines "$shell: exec 3>>, in pieces" "${shell%% *}" "$lock" "$shell \$work/pieces.sh \$job"
    lines "$shell: here-documents, pipelines, background jobs" "${shell%% *}" "$lock" \
        "$shell \$work/job.sh \$job"
    counter "$shell: exec 4<>, written from a pipeline" "${shell%% *}" "$lock" "$shell \$work/count.sh"
done
lines 'python3 subprocess' "$python" "$lock" '$python $work/starts.py $job'
TIMES=3 # a way of starting each
counter 'python3 multiprocessing' "$python" "$lock" '$python $work/processes.py $n'
TIMES=5
lines 'make -j2' make "$lock" 'make -s -j2 -f $work/lines.mk job=$job'
lines 'xargs -P' xargs "$lock" \
    '[ $n = 1 ] || exit 0; seq $TIMES | xargs -P 3 -I@ sh -c "{ printf %s \$i; printf .; echo @; } >>a.csv"'
lines 'perl with system and exec' perl "$lock" 'perl -e "
    open STDOUT, q(>>), q(a.csv) or die; \$| = 1; print qq($i.); system q(true); exec q(echo), q($n)"'

# gcc: others compile into the same object meanwhile; whoever links sees a whole one, or
# none: the assembler removes an object before it makes it anew, and in between there is
# no file to wait for. Who finds none links again.
cat >"$work/link.sh" <<'CODE'
until gcc main.c a.o -o "$1" 2>"$1.err"; do
    grep -q 'cannot find a\.o: No such file' "$1.err" || { cat "$1.err"; exit 1; }
done
CODE
whole_objects() {
    have_or_skip 'gcc, several at once' gcc || return
    begin
    for ((i = 1; i <= PROCESSES; i++)); do
        { echo "int number(void) { return $i; }"; seq -f 'int padding_%g = 1;' $((i * 100)); } >"$i.c"
    done
    echo 'int number(void); int main(void) { return number() < 1 || number() > 4; }' >main.c
    gcc -c 1.c -o a.o
    if at_once '*.o hold=process timeout=50s:!/usr/**' \
        'gcc -c $i.c -o a.o && bash $work/link.sh main.$i && ./main.$i' >log 2>&1; then
        ok 'gcc, several at once'
    else
        not_ok "gcc, several at once: $(tail -n 3 log)"
    fi
}
whole_objects

finish
