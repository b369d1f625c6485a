/* A shared mapping keeps a file locked after its descriptor is closed, until
 * the last of it is unmapped (contract H7). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/shim/flock_scenario.h"

#define RW (PROT_READ | PROT_WRITE)

static void begin(void) {
    flock_begin();
    put_file("plain.txt", "3\n");
    cr_assert_eq(truncate("a.csv", 16 * 4096), 0);
    cr_assert_eq(truncate("b.csv", 16 * 4096), 0);
    puppet = puppet_start("*.csv", NULL);
}

TestSuite(mappings, .init = begin, .fini = scenario_end, .timeout = 120);

/* Four pages of a.csv in slot 1, its descriptor closed. */
static void map_and_close(const char *call) {
    CALL(3, "open a.csv 2");
    CALL(1, "%s 3 4 %d %d", call, RW, MAP_SHARED);
    CALL(0, "close 3");
    HELD;
}

Scenario(mappings, keeps_it_until_munmap) {
    map_and_close("mmap");
    cr_expect_eq(puppet->error, UNTOUCHED);
    CALL(0, "munmap 1 0 4");
    cr_expect_eq(puppet->error, UNTOUCHED);
    GONE;
    CALL(0, "forget 1");
    map_and_close("mmap64");
    CALL(0, "munmap 1 0 4");
    GONE;
}

/* What is written through it arrives before somebody else reads. */
Scenario(mappings, a_reader_waits_for_the_mapping) {
    map_and_close("mmap");
    pid_t reader = start_shell("*.csv", "exec head -c 5 a.csv >seen");
    CALL(0, "poke 1 whole");
    CALL(0, "munmap 1 0 4");
    cr_expect_eq(end_shell(reader), 0);
    cr_expect_str_eq(file_content("seen"), "whole");
}

Scenario(mappings, unmapped_in_parts) {
    map_and_close("mmap");
    CALL(0, "munmap 1 1 2"); /* a hole */
    HELD;
    CALL(0, "munmap 1 0 1");
    HELD;
    CALL(0, "munmap 1 0 3"); /* what is gone already does not matter */
    HELD;
    CALL(0, "munmap 1 3 1");
    GONE;
}

Scenario(mappings, one_call_ends_several) {
    map_and_close("mmap");
    CALL(0, "munmap 1 1 1");
    CALL(0, "munmap 1 0 4");
    GONE;
}

Scenario(mappings, a_munmap_that_fails_ends_nothing) {
    map_and_close("mmap");
    CALL(-1, "munmap_odd 1");
    cr_expect_eq(puppet->error, EINVAL);
    HELD;
    CALL(0, "munmap 1 0 4");
    GONE;
}

Scenario(mappings, mapped_over) {
    map_and_close("mmap");
    CALL(0, "mmap_over 1 0 3 -1");
    HELD;
    CALL(0, "mmap_over 1 3 1 -1");
    GONE;
}

Scenario(mappings, mapped_over_by_another_file) {
    map_and_close("mmap");
    CALL(3, "open b.csv 2");
    CALL(0, "mmap_over 1 0 4 3");
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "munmap 1 0 4");
    cr_expect_eq(lock_state("b.csv"), FREE);
    GONE;
}

Scenario(mappings, moved_grown_and_shrunk) {
    map_and_close("mmap");
    CALL(0, "mremap 1 4 9");
    HELD;
    CALL(0, "munmap 1 0 4");
    CALL(0, "munmap 1 5 4");
    HELD;
    CALL(0, "munmap 1 4 1");
    GONE;
    CALL(0, "forget 1");
    map_and_close("mmap");
    CALL(0, "mremap 1 4 1");
    HELD;
    CALL(0, "munmap 1 0 1");
    GONE;
}

Scenario(mappings, moved_to_a_fixed_place) {
    map_and_close("mmap");
    CALL(0, "mremap_away 1 4");
    HELD;
    CALL(0, "munmap 1 0 4");
    GONE;
}

Scenario(mappings, two_files_moved_at_once) {
    map_and_close("mmap");
    CALL(3, "open b.csv 2");
    CALL(0, "mmap_over 1 2 2 3");
    CALL(0, "close 3");
    if (puppet_call(puppet, "mremap_away 1 4") < 0 && puppet->error == EFAULT) {
        (void)puppet_end(puppet);
        puppet = NULL;
        scenario_skip("several mappings are moved at once since Linux 6.17");
    }
    cr_assert_eq(puppet->result, 0, "errno %d", puppet->error);
    HELD;
    cr_expect_eq(lock_state("b.csv"), EXCLUSIVE);
    CALL(0, "munmap 1 2 2");
    HELD;
    cr_expect_eq(lock_state("b.csv"), FREE);
    CALL(0, "munmap 1 0 2");
    GONE;
}

Scenario(mappings, copied_by_mremap) {
    map_and_close("mmap");
    CALL(2, "mremap_copy 1 4");
    CALL(0, "munmap 1 0 4");
    HELD;
    CALL(0, "munmap 2 0 4");
    GONE;
}

/* Protected now, written to later: the hold is there all the time. */
Scenario(mappings, mprotect_later) {
    CALL(3, "open a.csv 2");
    CALL(1, "mmap 3 4 %d %d", PROT_NONE, MAP_SHARED);
    CALL(0, "close 3");
    HELD;
    CALL(0, "mprotect 1 4 %d", RW);
    HELD;
    CALL(0, "poke 1 later");
    CALL(0, "mprotect 1 4 %d", PROT_NONE);
    HELD;
    CALL(0, "munmap 1 0 4");
    GONE;
    cr_expect_eq(strncmp(file_content("a.csv"), "later", 5), 0);
}

Scenario(mappings, two_of_one_file) {
    CALL(3, "open a.csv 2");
    CALL(1, "mmap 3 4 %d %d", RW, MAP_SHARED);
    CALL(2, "mmap 3 4 %d %d", RW, MAP_SHARED);
    CALL(0, "close 3");
    cr_expect_eq(puppet_call(puppet, "list_above"), 1, "one is enough: %s", puppet->text);
    CALL(0, "munmap 1 0 4");
    HELD;
    CALL(0, "munmap 2 0 4");
    GONE;
}

/* H4: the mapping is a hold of this process like any other. */
Scenario(mappings, a_later_open_joins_it) {
    map_and_close("mmap");
    CALL(3, "open a.csv 2");
    CALL(0, "munmap 1 0 4");
    HELD;
    CALL(0, "close 3");
    GONE;
}

Scenario(mappings, a_reader_s_mapping_is_shared) {
    CALL(3, "open a.csv 0");
    CALL(1, "mmap 3 4 %d %d", PROT_READ, MAP_SHARED);
    CALL(0, "close 3");
    cr_expect_eq(lock_state("a.csv"), SHARED);
    CALL(0, "munmap 1 0 4");
    GONE;
}

Scenario(mappings, private_and_anonymous_ones_keep_nothing) {
    CALL(3, "open a.csv 2");
    CALL(1, "mmap 3 4 %d %d", RW, MAP_PRIVATE);
    CALL(2, "mmap 3 4 %d %d", RW, MAP_SHARED | MAP_ANONYMOUS);
    CALL(0, "close 3");
    GONE;
}

Scenario(mappings, one_that_fails_keeps_nothing) {
    CALL(3, "open a.csv 0");
    CALL(-1, "mmap 3 4 %d %d", RW, MAP_SHARED);
    cr_expect_eq(puppet->error, EACCES);
    CALL(0, "close 3");
    GONE;
}

Scenario(mappings, the_end_of_the_process_ends_it) {
    map_and_close("mmap");
    puppet_kill(puppet);
    puppet = NULL;
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(mappings, exec_ends_it) {
    map_and_close("mmap");
    puppet_tell(puppet, "exec");
    CALL(0, "list_above");
    cr_expect_eq(lock_state("a.csv"), FREE);
}

Scenario(mappings, a_forked_child_has_them_too) {
    map_and_close("mmap");
    cr_assert_gt(puppet_call(puppet, "fork_munmap 1 0 0"), 0);
    CALL(0, "munmap 1 0 4");
    HELD;
    CALL(0, "end_fork");
    GONE;
}

Scenario(mappings, a_forked_child_unmaps_its_own) {
    map_and_close("mmap");
    cr_assert_gt(puppet_call(puppet, "fork_munmap 1 0 4"), 0);
    HELD;
    CALL(0, "munmap 1 0 4");
    cr_expect_eq(lock_state("a.csv"), FREE, "the child has unmapped it");
    CALL(0, "end_fork");
    GONE;
}

/* More than one page of our own table: parts, not next to each other. */
Scenario(mappings, many_parts) {
    cr_assert_eq(truncate("a.csv", 1000 * 4096), 0);
    CALL(3, "open a.csv 2");
    CALL(1, "mmap 3 1000 %d %d", RW, MAP_SHARED);
    CALL(0, "close 3");
    for (int page = 1; page < 1000; page += 2) {
        CALL(0, "munmap 1 %d 1", page);
    }
    HELD;
    for (int page = 2; page < 1000; page += 2) {
        CALL(0, "munmap 1 %d 1", page);
    }
    HELD;
    CALL(0, "munmap 1 0 1");
    GONE;
}
