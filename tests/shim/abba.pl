#!/usr/bin/perl
# Two real programs, perl and python, each with a file that the other one wants:
# exactly one of them gets EDEADLK, round after round (contract W3).
#
#     abba.pl LIBRARY ROUNDS [AT ONCE]
use strict;
use warnings;
use POSIX ();

my ($library, $rounds, $at_once) = @ARGV;
$at_once ||= 10;
my $EDEADLK = 35;
my $dir = `mktemp -d "\${TMPDIR:-/tmp}/autolock-test-XXXXXX"`;
chomp $dir;
chdir $dir or die "$dir: $!";
END { chdir '/'; system 'rm', '-rf', $dir if $dir && $$ == $main::parent }
our $parent = $$;
delete @ENV{grep { /^AUTOLOCK/ } keys %ENV};

# Opens the first file, says so, and when it may goes on to the second.
my $perl = 'open my $x, q(+<), $ARGV[0] or exit 1; syswrite STDOUT, q(.); sysread STDIN, my $go, 1; '
    . 'if (!open my $y, q(+<), $ARGV[1]) { exit $!{EDEADLK} ? 35 : $! + 0 }';
$perl = "use Errno; $perl";
my $python = "import os, sys\nx = open(sys.argv[1], 'r+')\nos.write(1, b'.')\nos.read(0, 1)\n"
    . "try: open(sys.argv[2], 'r+')\nexcept OSError as e: os._exit(e.errno)\n";

sub start {
    my @command = @_;
    pipe my $go_read, my $go_write or die;
    pipe my $ready_read, my $ready_write or die;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        POSIX::dup2(fileno $go_read, 0);
        POSIX::dup2(fileno $ready_write, 1);
        @ENV{'LD_PRELOAD', 'AUTOLOCK_PATTERNS', 'AUTOLOCK_LOG'} = ($library, '*.csv', 'log');
        exec 'timeout', '-k', '1', '100', @command or POSIX::_exit(127);
    }
    return {pid => $pid, go => $go_write, ready => $ready_read};
}

my ($done, $bad) = (0, 0);
while ($done < $rounds) {
    my @pairs;
    for my $i (1 .. ($rounds - $done < $at_once ? $rounds - $done : $at_once)) {
        for my $name ("a$i.csv", "b$i.csv") {
            open my $f, '>', $name or die;
            close $f;
        }
        push @pairs, [start('perl', '-e', $perl, "a$i.csv", "b$i.csv"),
            start('/usr/bin/python3', '-c', $python, "b$i.csv", "a$i.csv")];
    }
    for my $one (map { @$_ } @pairs) {
        sysread $one->{ready}, my $dot, 1 or die "a program does not start\n";
    }
    syswrite $_->{go}, '.' for map { @$_ } @pairs;
    for my $pair (@pairs) {
        my @status = map { waitpid $_->{pid}, 0; $? >> 8 } @$pair;
        if (join(' ', sort { $a <=> $b } @status) ne "0 $EDEADLK") {
            $bad++;
            print "round @{[$done + 1]}: the programs ended with @status\n";
        }
        $done++;
    }
}
print $done - $bad, " of $done rounds ended with EDEADLK for exactly one\n";
exit($bad ? 1 : 0);
