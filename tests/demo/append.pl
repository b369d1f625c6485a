#!/usr/bin/perl
# append.pl FILE WRITER COUNT BODY: as append.sh, with a system call a line.
use strict;
use warnings;

my ($path, $writer, $count, $body) = @ARGV;
for my $record (1 .. $count) {
    open(my $file, '>>', $path) or die "append.pl: $path: $!\n";
    for my $line ("BEGIN $writer $record\n",
        (map { "$writer $record $_: what a program has to say, at some length\n" } 1 .. $body),
        "END $writer $record\n")
    {
        defined(syswrite($file, $line)) or die "append.pl: $path: $!\n";
    }
    close($file) or die "append.pl: $path: $!\n";
}
