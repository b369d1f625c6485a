/*
 * How a test says what it left out: a line "SKIP CASE: REASON" for each case, and
 * ALL_SKIPPED as its exit status where no case failed and none was left over (ctest's
 * SKIP_RETURN_CODE). skips.sh lists the lines at the end of the run.
 */
#ifndef TESTS_SKIPS_H
#define TESTS_SKIPS_H

#define ALL_SKIPPED 77

#endif
