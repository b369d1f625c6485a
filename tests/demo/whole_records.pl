#!/usr/bin/perl
# whole_records.pl FILE BODY: how many different records in FILE are whole, with
# all their lines in order and nobody else's between them.
use strict;
use warnings;

my ($path, $body) = @ARGV;
my ($tag, $line, %whole) = ('', 0);
open(my $file, '<', $path) or die "whole_records.pl: $path: $!\n";
while (<$file>) {
    chomp;
    if (/^BEGIN (\S+ \d+)$/) {
        ($tag, $line) = ($1, 0);
    } elsif ($tag ne '' && $line < $body && index($_, "$tag " . ($line + 1) . ': ') == 0) {
        $line++;
    } else {
        $whole{$tag} = 1 if $tag ne '' && $line == $body && $_ eq "END $tag";
        $tag = '';
    }
}
print scalar(keys %whole), "\n";
