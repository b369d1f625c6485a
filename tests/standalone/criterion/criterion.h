/*
 * A stand-in for as much of Criterion as the tests that run with musl use, so that the same
 * tests run where Criterion is not to be had: with musl. Each test runs in a
 * child of its own; runner.c has the main function.
 */
#ifndef STAND_IN_CRITERION_H
#define STAND_IN_CRITERION_H

#include <stdbool.h>
#include <string.h>

struct stand_in_suite {
    const char *name;
    void (*init)(void);
    void (*fini)(void);
    unsigned timeout;
    struct stand_in_suite *next;
};

struct stand_in_test {
    const char *suite, *name;
    void (*function)(void);
    struct stand_in_test *next;
};

void stand_in_add_suite(struct stand_in_suite *suite);
void stand_in_add_test(struct stand_in_test *test);
void stand_in_check(bool well, bool fatal, const char *file, int line, const char *what,
                    const char *format, ...) __attribute__((format(printf, 6, 7)));
_Noreturn void stand_in_skip(const char *why);

#define TestSuite(suite_, ...)                                                                     \
    __attribute__((constructor(101))) static void stand_in_suite_##suite_(void) {                  \
        static struct stand_in_suite suite = {.name = #suite_, __VA_ARGS__};                       \
        stand_in_add_suite(&suite);                                                                \
    }                                                                                              \
    struct stand_in_suite

#define Test(suite_, name_)                                                                        \
    static void suite_##_##name_##_body(void);                                                     \
    __attribute__((constructor(102))) static void suite_##_##name_##_add(void) {                   \
        static struct stand_in_test test = {                                                       \
            .suite = #suite_, .name = #name_, .function = suite_##_##name_##_body};                \
        stand_in_add_test(&test);                                                                  \
    }                                                                                              \
    static void suite_##_##name_##_body(void)

#define STAND_IN(well, fatal, what, ...)                                                           \
    stand_in_check((well), (fatal), __FILE__, __LINE__, what, " " __VA_ARGS__)

#define cr_assert(a, ...) STAND_IN(a, true, #a, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) STAND_IN((a) == (b), true, #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) STAND_IN((a) != (b), true, #a " != " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) STAND_IN((a) > (b), true, #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) STAND_IN((a) >= (b), true, #a " >= " #b, __VA_ARGS__)
#define cr_assert_fail(...) STAND_IN(false, true, "reached", __VA_ARGS__)
#define cr_expect(a, ...) STAND_IN(a, false, #a, __VA_ARGS__)
#define cr_expect_not(a, ...) STAND_IN(!(a), false, "not " #a, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) STAND_IN((a) == (b), false, #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) STAND_IN((a) != (b), false, #a " != " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) STAND_IN((a) > (b), false, #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) STAND_IN((a) >= (b), false, #a " >= " #b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)                                                                \
    STAND_IN(strcmp((a), (b)) == 0, false, #a " is " #b, __VA_ARGS__)
#define cr_skip_test(why) stand_in_skip(why)

#endif
