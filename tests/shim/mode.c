/* The sidecar follows the mode and the owner of its file, so that nobody who may
 * use the file is kept out (contract P1). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define NOBODY 65534u

/* Others may come in, as far as the files let them. */
static void begin(void) {
    scenario_begin();
    cr_assert_eq(chmod(".", 0777), 0);
}

TestSuite(mode, .init = begin, .fini = scenario_end, .timeout = 120);

static struct stat sidecar_of(const char *file) {
    struct stat stat = {0};
    char path[100];
    snprintf(path, sizeof(path), "%s.lock", file);
    cr_assert_eq(lstat(path, &stat), 0, "%s", path);
    return stat;
}

static unsigned mode_of_sidecar(void) {
    return sidecar_of("a.csv").st_mode & 07777;
}

/* a.csv, for its owner alone, as descriptor 3; with its sidecar. */
static struct puppet *start_private(void) {
    (void)unlink("a.csv");
    (void)unlink("a.csv.lock");
    struct puppet *puppet = puppet_start("*.csv", NULL);
    cr_assert_eq(puppet_call(puppet, "open a.csv %d 0600", O_RDWR | O_CREAT), 3);
    cr_assert_eq(mode_of_sidecar(), 0600u);
    return puppet;
}

#define WELL(...)                                                                                  \
    do {                                                                                           \
        cr_assert_eq(puppet_call(puppet, __VA_ARGS__), 0, "errno %d", puppet->error);              \
        cr_expect_eq(puppet->error, UNTOUCHED, "errno %d", puppet->error);                         \
    } while (0)

Test(mode, every_call_while_it_is_open_and_after) {
    static const char *const calls[] = {"fchmod 3 0644",
                                        "chmod a.csv 0644",
                                        "chmod link.csv 0644",
                                        "chmod ./d/../a.csv 0644",
                                        "lchmod a.csv 0644",
                                        "fchmodat -100 a.csv 0644",
                                        "fchmodat -100 link.csv 0644"};
    cr_assert_eq(symlink("a.csv", "link.csv"), 0);
    cr_assert_eq(mkdir("d", 0755), 0);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (int closed = 0; closed < (i == 0 ? 1 : 2); closed++) {
            struct puppet *puppet = start_private();
            if (closed) {
                WELL("close 3");
            }
            WELL("%s", calls[i]);
            cr_expect_eq(mode_of_sidecar(), 0666u, "%s: %o", calls[i], mode_of_sidecar());
            cr_expect_eq(lock_state("a.csv"), closed ? FREE : EXCLUSIVE, "%s", calls[i]);
            if (!closed) {
                WELL("close 3");
            }
            cr_expect_eq(lock_state("a.csv"), FREE, "%s", calls[i]);
            cr_expect_eq(puppet_call(puppet, "list_above"), 0, "%s leaves %s", calls[i],
                         puppet->text);
            cr_expect_eq(puppet_call(puppet, "open /dev/null 0"), 3);
            (void)puppet_end(puppet);
        }
    }
}

Test(mode, only_with_the_shim) {
    struct puppet *puppet = start_private();
    (void)puppet_end(puppet);
    puppet = puppet_start(NULL, NULL);
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0600u);
    (void)puppet_end(puppet);
    puppet = puppet_start("*.txt", NULL);
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0600u, "no rule of ours");
    (void)puppet_end(puppet);
}

Test(mode, what_root_gives_away) {
    static const char *const calls[] = {
        "fchown 3 65534 65534",         "chown a.csv 65534 65534",
        "lchown a.csv 65534 65534",     "fchownat -100 a.csv 65534 65534",
        "fchownat_empty 3 65534 65534",
    };
    if (geteuid() != 0) {
        scenario_skip("only root can give a file away");
    }
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct puppet *puppet = start_private();
        WELL("%s", calls[i]);
        struct stat sidecar = sidecar_of("a.csv");
        cr_expect(sidecar.st_uid == NOBODY && sidecar.st_gid == NOBODY, "%s", calls[i]);
        cr_expect_eq(mode_of_sidecar(), 0600u, "%s: %o", calls[i], mode_of_sidecar());
        WELL("fchmod 3 0640"); /* what is the user's by now */
        cr_expect_eq(mode_of_sidecar(), 0660u, "%s: %o", calls[i], mode_of_sidecar());
        (void)puppet_end(puppet);
    }
}

/* Programs that make a file for themselves and open it up once it is whole. */
Test(mode, copies_that_root_makes_are_for_their_owners) {
    static const char *const copies[] = {
        "cp -p data a.csv",
        "cp -a data a.csv",
        "install -o 65534 -g 65534 -m 600 data a.csv",
        "tar xpf data.tar",
        "umask 077; cat data >a.csv; chown 65534 a.csv",
    };
    if (geteuid() != 0) {
        scenario_skip("only root can give a file away");
    }
    put_file("data", "x\n");
    cr_assert_eq(run_shell(NULL, "chown 65534:65534 data && chmod 640 data && "
                                 "tar cf data.tar --transform s/data/a.csv/ data"),
                 0);
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        (void)unlink("a.csv");
        (void)unlink("a.csv.lock");
        cr_assert_eq(run_shell("*.csv", copies[i]), 0, "%s", copies[i]);
        cr_assert_eq(access("a.csv.lock", F_OK), 0, "%s", copies[i]);
        cr_expect_eq(run_shell_as_nobody("*.csv", "cat a.csv >/dev/null && echo y >>a.csv"), 0,
                     "%s", copies[i]);
        cr_expect_str_eq(file_content("a.csv"), "x\ny\n", "%s", copies[i]);
    }
}

/* The same without rights over other people's files. */
Test(mode, copies_that_a_user_makes_are_for_others) {
    static const char *const copies[] = {
        "cp -p data a.csv",
        "install -m 644 data a.csv",
        "tar xpf data.tar",
        "umask 077; cat data >a.csv; chmod 644 a.csv",
        "umask 077; cat data >a.csv; chmod a+r a.csv",
    };
    put_file("data", "x\n");
    cr_assert_eq(run_shell(NULL, "chmod 644 data && "
                                 "tar cf data.tar --transform s/data/a.csv/ data"),
                 0);
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        (void)unlink("a.csv");
        (void)unlink("a.csv.lock");
        int status = geteuid() == 0 ? run_shell_as_nobody("*.csv", copies[i])
                                    : run_shell("*.csv", copies[i]);
        cr_assert_eq(status, 0, "%s", copies[i]);
        struct stat sidecar = sidecar_of("a.csv");
        cr_expect_neq(sidecar.st_uid, 0u, "%s", copies[i]);
        cr_expect_eq(sidecar.st_mode & 07777, 0666u, "%s: %o", copies[i], sidecar.st_mode);
    }
}

/* Another file gets the name: for another owner, with another mode. */
static void replace_by(const char *call) {
    for (int private = 0; private < 2; private ++) {
        struct puppet *puppet = start_private();
        WELL("fchmod 3 %s", private ? "0644" : "0600");
        WELL("close 3");
        put_file("new", "2\n");
        cr_assert_eq(chmod("new", private ? 0600 : 0644), 0);
        bool gives = !private && geteuid() == 0;
        cr_assert_eq(gives ? chown("new", NOBODY, NOBODY) : 0, 0);
        WELL("%s", call);
        cr_expect_eq(mode_of_sidecar(), private ? 0600u : 0666u, "%s: %o", call, mode_of_sidecar());
        cr_expect_eq(sidecar_of("a.csv").st_uid, gives ? NOBODY : geteuid(), "%s", call);
        cr_expect_eq(lock_state("a.csv"), FREE);
        (void)puppet_end(puppet);
    }
}

Test(mode, a_file_that_is_put_in_the_place_of_another) {
    replace_by("rename new a.csv");
    replace_by("renameat -100 new -100 a.csv");
}

Test(mode, files_that_change_places) {
    replace_by("renameat2 new a.csv 2");
    replace_by("renameat2 a.csv new 2");
}

/* poetry.lock, and whatever else is called so. */
Test(mode, what_may_be_data_is_left_alone) {
    struct puppet *puppet = start_private();
    WELL("close 3");
    put_file("a.csv.lock", "data");
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0600u, "it has content");
    cr_assert_eq(truncate("a.csv.lock", 0), 0);
    cr_assert_eq(link("a.csv.lock", "other name"), 0);
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0600u, "it has another name");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    cr_assert_eq(symlink("other name", "a.csv.lock"), 0);
    WELL("chmod a.csv 0644");
    struct stat stat;
    cr_assert_eq(lstat("other name", &stat), 0);
    cr_expect_eq(stat.st_mode & 07777, 0600u, "it is a link");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    cr_assert_eq(mkfifo("a.csv.lock", 0600), 0);
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0600u, "it is a FIFO");
    cr_assert_eq(unlink("a.csv.lock"), 0);
    WELL("chmod a.csv 0644");
    cr_expect_eq(access("a.csv.lock", F_OK), -1, "none is made");
    (void)puppet_end(puppet);
}

Test(mode, what_is_someone_elses_is_left_alone) {
    if (geteuid() != 0) {
        scenario_skip("only root can give a file away");
    }
    struct puppet *puppet = start_private();
    WELL("close 3");
    cr_assert_eq(chown("a.csv.lock", NOBODY, NOBODY), 0);
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0600u);
    cr_expect_eq(sidecar_of("a.csv").st_uid, NOBODY);
    (void)puppet_end(puppet);
}

/* A file that has become private can be frozen by nobody else; its owner is never
 * locked out. */
Test(mode, a_narrower_mode) {
    static const struct {
        unsigned file, sidecar;
    } modes[] = {{0640, 0660}, {0604, 0606}, {0600, 0600}, {0000, 0600},
                 {0044, 0666}, {0400, 0600}, {0222, 0666}};
    struct puppet *puppet = start_private();
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        WELL("fchmod 3 0666");
        cr_expect_eq(mode_of_sidecar(), 0666u, "%o", mode_of_sidecar());
        WELL("fchmod 3 0%o", modes[i].file);
        cr_expect_eq(mode_of_sidecar(), modes[i].sidecar, "%o: %o", modes[i].file,
                     mode_of_sidecar());
        WELL("chmod a.csv 0666");
        WELL("chmod a.csv 0%o", modes[i].file);
        cr_expect_eq(mode_of_sidecar(), modes[i].sidecar, "%o: %o", modes[i].file,
                     mode_of_sidecar());
    }
    (void)puppet_end(puppet);
}

/* What an open finds wider, somebody may want so; and flock(1) makes other modes. */
Test(mode, a_wider_one_that_is_not_of_our_making) {
    struct puppet *puppet = start_private();
    cr_assert_eq(chmod("a.csv.lock", 0644), 0);
    WELL("fchmod 3 0400");
    WELL("chmod a.csv 0600");
    cr_expect_eq(mode_of_sidecar(), 0644u, "%o", mode_of_sidecar());
    WELL("close 3");
    cr_assert_eq(chmod("a.csv.lock", 0666), 0);
    cr_assert_eq(puppet_call(puppet, "open a.csv 2"), 3);
    cr_expect_eq(mode_of_sidecar(), 0666u, "%o", mode_of_sidecar());
    WELL("close 3");
    put_file("a.csv.lock", "data");
    WELL("chmod a.csv 0400");
    cr_expect_eq(mode_of_sidecar(), 0666u, "%o", mode_of_sidecar());
    (void)puppet_end(puppet);
}

Test(mode, it_does_not_wait) {
    struct puppet *puppet = start_private();
    WELL("close 3");
    struct stranger stranger = stranger_locks("a.csv", LOCK_EX);
    WELL("chmod a.csv 0644");
    cr_expect_eq(mode_of_sidecar(), 0666u);
    stranger_leaves(stranger);
    (void)puppet_end(puppet);
}

Test(mode, by_a_child_that_shares_our_memory) {
    struct puppet *puppet = start_private();
    cr_expect_eq(puppet_call(puppet, "vfork_chmod 3 a.csv"), 0);
    cr_expect_eq(mode_of_sidecar(), 0666u, "%o", mode_of_sidecar());
    cr_expect_eq(lock_state("a.csv"), EXCLUSIVE);
    WELL("close 3");
    cr_expect_eq(lock_state("a.csv"), FREE);
    cr_expect_eq(puppet_call(puppet, "list_above"), 0, "it leaves %s", puppet->text);
    (void)puppet_end(puppet);
}

/* Closing any descriptor of the sidecar would drop them (O7). */
Test(mode, record_locks_on_the_sidecar_stay) {
    static const char *const calls[] = {"fchmod 3 0644", "chmod a.csv 0644"};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct puppet *puppet = start_private();
        cr_assert_eq(puppet_call(puppet, "open a.csv.lock 2"), 4);
        WELL("setlk 4 %d", F_WRLCK);
        WELL("%s", calls[i]);
        cr_expect_eq(mode_of_sidecar(), 0666u, "%s: %o", calls[i], mode_of_sidecar());
        int fd = open("a.csv.lock", O_RDWR | O_CLOEXEC);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        cr_assert_eq(fcntl(fd, F_GETLK, &lock), 0);
        cr_expect(lock.l_type == F_WRLCK && lock.l_pid == puppet->pid, "%s", calls[i]);
        close(fd);
        (void)puppet_end(puppet);
    }
}

Test(mode, calls_that_fail_say_why) {
    static const struct {
        const char *call;
        int error;
    } calls[] = {
        {"chmod missing.csv 0644", ENOENT},
        {"chmod missing 0644", ENOENT},
        {"lchown missing.csv -1 -1", ENOENT},
        {"chown missing/a.csv -1 -1", ENOENT},
        {"fchmod 77 0644", EBADF},
        {"fchown 77 -1 -1", EBADF},
        {"fchmodat 77 a.csv 0644", EBADF},
        {"fchownat 77 a.csv -1 -1", EBADF},
        {"fchownat_empty 77 -1 -1", EBADF},
        {"chmod loop.csv 0644", ELOOP},
    };
    cr_assert_eq(symlink("loop.csv", "loop.csv"), 0);
    for (int shim = 0; shim < 2; shim++) {
        struct puppet *puppet = puppet_start(shim ? "*.csv" : NULL, NULL);
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
            cr_expect_eq(puppet_call(puppet, "%s", calls[i].call), -1, "%s", calls[i].call);
            cr_expect_eq(puppet->error, calls[i].error, "%s: errno %d", calls[i].call,
                         puppet->error);
        }
        (void)puppet_end(puppet);
    }
}

Test(mode, what_no_rule_means_is_changed_as_ever) {
    struct puppet *puppet = puppet_start("*.csv", NULL);
    put_file("plain", "");
    cr_assert_eq(mkdir("d.csv", 0700), 0);
    cr_assert_eq(mkfifo("f.csv", 0600), 0);
    static const char *const names[] = {"plain", "d.csv", "f.csv"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat stat;
        WELL("chmod %s 0741", names[i]);
        cr_assert_eq(lstat(names[i], &stat), 0);
        cr_expect_eq(stat.st_mode & 07777, 0741u, "%s", names[i]);
        cr_expect_eq(lock_state(names[i]), NO_SIDECAR, "%s", names[i]);
    }
    (void)puppet_end(puppet);
}
