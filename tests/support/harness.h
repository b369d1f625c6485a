/*
 * Scenarios: unmodified programs with or without the shim, and what can be seen
 * of their locks from outside.
 *
 * Each test has a directory of its own, removed at its end. A puppet
 * (puppet.c) is started in it, told what to call, and answers; the test itself
 * is never under the shim. LD_PRELOAD is set for the puppet alone.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <stdbool.h>
#include <sys/types.h>

#define UNTOUCHED 99 /* errno as the puppet set it before the call */

enum lock_state { NO_SIDECAR, FREE, SHARED, EXCLUSIVE };

struct puppet {
    pid_t pid;
    int commands, answers;
    long result;
    int error;
    char text[8192];
};

/* Makes the directory and goes there. Criterion's .init and .fini. */
void scenario_begin(void);
void scenario_end(void);
/* The same, with the file a.csv in it: "0\n". */
void scenario_begin_with_file(void);
/* The calling thread, and whom it starts from now on, run on one processor only. */
void stay_on_one_processor(void);
/* Instead of cr_skip_test: Criterion calls no .fini after a test that was skipped. */
#define scenario_skip(...)                                                                         \
    do {                                                                                           \
        scenario_end();                                                                            \
        cr_skip_test(__VA_ARGS__);                                                                 \
    } while (0)
/* In a test that cannot be with the address sanitizer, and why. */
#ifdef __SANITIZE_ADDRESS__
#define NOT_WITH_SANITIZERS(why) scenario_skip(why)
#else
#define NOT_WITH_SANITIZERS(why) (void)0
#endif
/* The directory's path. */
const char *scenario_directory(void);

/* Starts one; patterns NULL: without the shim. More variables, "NAME=VALUE",
 * may follow, ended by NULL. */
struct puppet *puppet_start(const char *patterns, ...);
/* Closes its command line and returns its exit status (waitpid's). */
int puppet_end(struct puppet *puppet);
void puppet_kill(struct puppet *puppet);

/* Tells it to make a call and waits for the result, 30 s at most. */
long puppet_call(struct puppet *puppet, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Of the variable `puppet`. */
#define CALL(expected, ...)                                                                        \
    cr_expect_eq(puppet_call(puppet, __VA_ARGS__), expected, "%s: %ld, errno %d, %s",              \
                 #__VA_ARGS__, puppet->result, puppet->error, puppet->text)
/* Only tells it; puppet_result waits. */
void puppet_tell(struct puppet *puppet, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
long puppet_result(struct puppet *puppet);
/* Waits until one of several has a result; which one. -1 when none has after so
 * many milliseconds. */
int puppet_first(struct puppet *const *puppets, int count, int patience);
/* Waits until a process stands in the kernel's queue for a flock. */
void wait_until_queued(pid_t pid);
/* Until so many of its threads do. */
void wait_until_queue_is(pid_t pid, int count);

/* What somebody outside sees of FILE.lock. */
enum lock_state lock_state(const char *file);
/* A process that is nobody's ancestor takes the sidecar (LOCK_EX, LOCK_SH) as a
 * stranger would, making it where it is missing, until it is told to leave. */
struct stranger {
    pid_t pid;
    int leave;
};
struct stranger stranger_locks(const char *file, int operation);
void stranger_leaves(struct stranger stranger);

/* A test behind whose body the file's own `finish()` is called, to look at what is left:
 * what fails in Criterion's .fini fails no test. */
#define Scenario(suite, name)                                                                      \
    static void suite##_##name##_scenario(void);                                                   \
    Test(suite, name) {                                                                            \
        suite##_##name##_scenario();                                                               \
        finish();                                                                                  \
    }                                                                                              \
    static void suite##_##name##_scenario(void)

void put_file(const char *path, const char *content);
/* Content of a file, valid until the next call; "" when it is missing. */
const char *file_content(const char *path);
/* Runs a shell command under the shim (patterns) or without it (NULL), for at
 * most 60 s; its exit status. */
int run_shell(const char *patterns, const char *command);
/* The same as another user (root alone can), with a copy of the library where
 * that user may read it. */
int run_shell_as_nobody(const char *patterns, const char *command);
/* run_shell in the background. */
pid_t start_shell(const char *patterns, const char *command);
int end_shell(pid_t pid);

#endif
