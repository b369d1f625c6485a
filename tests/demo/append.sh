#!/bin/bash
# append.sh FILE WRITER COUNT BODY: appends COUNT records to FILE, each in one
# open, but many writes: every echo is one.
for ((record = 1; record <= $3; record++)); do
    {
        echo "BEGIN $2 $record"
        for ((line = 1; line <= $4; line++)); do
            echo "$2 $record $line: what a program has to say, at some length"
        done
        echo "END $2 $record"
    } >>"$1" || exit 1
done
