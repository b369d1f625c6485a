# Sourced by alone.sh, starters.sh and together.sh, which have set $here to their
# directory: where things are, and what to say.
#
# LD_PRELOAD is set for the programs under test alone. Rules have a timeout, so
# that a program which waits for itself fails instead of hanging.
set -u
export LC_ALL=C TZ=UTC0 HOME=/nonexistent
unset LD_PRELOAD AUTOLOCK AUTOLOCK_STRICT AUTOLOCK_PATTERNS AUTOLOCK_CONFIG AUTOLOCK_LOG
unset EDITOR VISUAL PERL5LIB PYTHONPATH RUBYLIB
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
export GIT_AUTHOR_DATE='2020-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00:00 +0000'

library=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# shellcheck source=../support/report.sh
. "$here/../support/report.sh"

have() {
    command -v "$1" >/dev/null
}
# have_or_skip CASE PROGRAM
have_or_skip() {
    have "$2" || { skip "$1" "$2 is not installed"; false; }
}

# under RULES COMMAND...: under the shim, 60 s at most.
under() {
    local rules=$1
    shift
    env LD_PRELOAD="$library" AUTOLOCK_PATTERNS="$rules" timeout -k 1 60 "$@"
}

# Compiled once, where there is a compiler for it.
stream_tool=
if have g++; then
    cat >"$work/stream.cc" <<'CODE'
#include <fstream>
#include <iostream>
#include <string>
// stream FILE COUNT: adds one to the number in FILE, COUNT times.
int main(int, char **argv) {
    for (int i = 0; i < std::stoi(argv[2]); i++) {
        std::fstream file(argv[1], std::ios::in | std::ios::out);
        long number = 0;
        if (!(file >> number)) {
            return 1;
        }
        file.seekp(0);
        file << number + 1 << "\n";
    }
    std::ifstream result(argv[1]);
    std::cout << result.rdbuf();
}
CODE
    g++ -o "$work/stream" "$work/stream.cc" && stream_tool=$work/stream
fi
java_tool= java_needed="a JDK (java and javac)"
if have java && have javac; then
    cat >"$work/Add.java" <<'CODE'
import java.io.RandomAccessFile;
public class Add {
    public static void main(String[] args) throws Exception {
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            try (RandomAccessFile file = new RandomAccessFile(args[0], "rw")) {
                long number = Long.parseLong(file.readLine());
                file.seek(0);
                file.writeBytes((number + 1) + "\n");
            }
        }
    }
}
CODE
    javac -d "$work" "$work/Add.java" && java_tool="java -Xshare:auto -cp $work Add" java_needed=java
fi
python=/usr/bin/python3
export stream_tool java_tool java_needed python
