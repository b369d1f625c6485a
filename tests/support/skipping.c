/* Cases that skip on purpose, for skips_told.sh. */
#include <criterion/criterion.h>

Test(partly, is_skipped) {
    cr_skip_test("for a reason");
}

Test(partly, passes) {
    cr_assert(true);
}

Test(wholly, is_skipped_too) {
    cr_skip_test("for another reason");
}

Test(badly, fails) {
    cr_assert(false);
}

Test(badly, is_skipped_beside_it) {
    cr_skip_test("for a third reason");
}
