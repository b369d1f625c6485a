/* Streams are what libc would have made of them, locked (contract O1, T1), and
 * their flush comes before the hold ends (H2). */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

TestSuite(streams, .init = scenario_begin, .fini = scenario_end, .timeout = 120);

/* The same answers without the shim, for names that match and for those that do
 * not. */
static const char *const all_patterns[] = {NULL, "*.txt", "*.csv"};

static struct puppet *start(const char *patterns) {
    put_file("a.csv", "12345\n");
    return puppet_start(patterns, NULL);
}

#define EACH(puppet)                                                                               \
    for (size_t each = 0; each < 3; each++)                                                        \
        for (struct puppet *puppet = start(all_patterns[each]); puppet;                            \
             (void)puppet_end(puppet), puppet = NULL)
#define SAYS(expected, call)                                                                       \
    cr_expect_eq(puppet_call(puppet, call), expected, call ": %ld", puppet->result)

Test(streams, appending_begins_at_the_end) {
    EACH(puppet) {
        SAYS(3, "fopen a.csv a");
        SAYS(6, "ftell 3");
        SAYS(4, "fopen a.csv a+");
        SAYS(0, "ftell 4");
        SAYS(5, "fopen64 a.csv ab");
        SAYS(6, "ftell 5");
    }
}

/* A table as fstab(5): libc has a way of its own into it, and out of it. */
Test(streams, tables_of_file_systems) {
    EACH(puppet) {
        const bool locked = each == 2;
        SAYS(3, "setmntent a.csv a+");
        cr_expect_eq(lock_state("a.csv") == EXCLUSIVE, locked);
        SAYS(1, "fcntl 3 1 0"); /* F_GETFD: FD_CLOEXEC */
        SAYS(0, "addmntent");
        SAYS(1, "endmntent");
        cr_expect_neq(lock_state("a.csv"), EXCLUSIVE);
        cr_expect_str_eq(file_content("a.csv"), "12345\ndev /dir type opts 0 0\n");
        SAYS(3, "setmntent a.csv r");
        cr_expect_eq(lock_state("a.csv") == SHARED, locked);
        SAYS(1, "endmntent");
        SAYS(-1, "setmntent missing.csv r");
        cr_expect_eq(puppet->error, ENOENT);
    }
}

/* A program that writes the heading only into an empty file. */
Test(streams, a_heading_is_written_once) {
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(run_shell("*.csv", "perl -e 'open F, q(>>), q(r.csv); print F qq(heading\\n) "
                                        "if tell(F) == 0; print F qq(line\\n)'"),
                     0);
    }
    cr_expect_str_eq(file_content("r.csv"), "heading\nline\nline\nline\n");
}

/* glibc reads seven characters of a mode. */
Test(streams, long_modes_mean_the_same) {
#ifndef __GLIBC__
    scenario_skip("only glibc stops reading a mode");
#endif
    EACH(puppet) {
        SAYS(3, "fopen_blanks a.csv r_____+");
        cr_expect_eq(puppet_call(puppet, "fcntl 3 3 0") & 3, 2, "read on");
        SAYS(6, "write 3 abcdef");
        SAYS(4, "fopen_blanks a.csv r______+");
        cr_expect_eq(puppet_call(puppet, "fcntl 4 3 0") & 3, 0, "read too far");
        SAYS(5, "fopen a.csv r+bbbbe");
        SAYS(1, "fcntl 5 1 0"); /* FD_CLOEXEC */
        SAYS(6, "fopen a.csv rbbbbbe");
        SAYS(1, "fcntl 6 1 0");
        SAYS(7, "fopen a.csv rbbbbbbe");
        SAYS(0, "fcntl 7 1 0");
    }
}

/* What the stream is for comes from the whole mode too, not from as much as
 * fdopen reads. */
Test(streams, a_late_plus_makes_it_writable) {
    EACH(puppet) {
        SAYS(3, "fopen a.csv rbbbb+");
        SAYS(1, "fputs 3 abcdef");
        SAYS(0, "fclose 3");
        cr_expect_str_eq(file_content("a.csv"), "abcdef");
    }
}

Test(streams, a_character_set_is_kept) {
    EACH(puppet) {
        SAYS(3, "fopen a.csv r,ccs=UTF-8");
        cr_expect_gt(puppet_call(puppet, "fwide 3"), 0, "not for wide characters");
        SAYS(4, "fopen a.csv r");
        SAYS(0, "fwide 4");
    }
}

Test(streams, those_that_libc_opens_find_the_file_through_links) {
    cr_assert_eq(mkdir("d", 0755), 0);
    cr_assert_eq(symlink("d", "way"), 0);
    cr_assert_eq(symlink("../b.csv", "d/link"), 0);
    struct puppet *puppet = start("*.csv");
    put_file("b.csv", "b\n");
    SAYS(3, "fopen way/link r+m");
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    SAYS(1, "fputs 3 B");
    SAYS(3, "freopen 3 way/new.csv w");
    cr_expect_eq(lock_state("b.csv"), FREE);
    cr_expect_eq(lock_state("d/new.csv"), EXCLUSIVE);
    SAYS(1, "fputs 3 new");
    SAYS(0, "fclose 3");
    cr_expect_str_eq(file_content("b.csv"), "B\n");
    cr_expect_str_eq(file_content("d/new.csv"), "new");
    (void)puppet_end(puppet);
}

/* H2: in the middle of the flush of fclose the lock is still there. */
Test(streams, fclose_flushes_before_the_hold_ends) {
    struct puppet *puppet = start("*.csv");
    int status;
    SAYS(3, "fopen a.csv r+");
    SAYS(1, "fputs 3 buffered");
    SAYS(0, "stop_at_write");
    puppet_tell(puppet, "fclose 3");
    cr_assert_eq(waitpid(puppet->pid, &status, WUNTRACED), puppet->pid);
    cr_assert(WIFSTOPPED(status), "not in the middle of a write");
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE, "free before it is flushed");
    cr_assert_eq(kill(puppet->pid, SIGCONT), 0);
    cr_expect_eq(puppet_result(puppet), -1);
    cr_expect_eq(puppet->error, EFBIG);
    cr_expect_eq(lock_state("a.csv"), FREE);
    (void)puppet_end(puppet);
}
