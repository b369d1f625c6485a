#include "shim/family.h"

#include <errno.h>

#include "lib/clock.h"
#include "shim/wait.h"

/* Most locks come within this time; looking at ancestors takes longer. */
#define FIRST_LOOK (3 * CLOCK_MILLISECOND)
#define RAREST_LOOK CLOCK_SECOND
#define RAREST_LOOK_AT_ANCESTOR (70 * CLOCK_MILLISECOND)

void family_begin(struct family *family, uint64_t now) {
    family->look = now + FIRST_LOOK;
    family->interval = 4 * FIRST_LOOK;
}

static void put_why(struct target *target, bool still, const char *option) {
    struct text text = target_why(target);
    text_put(&text, "an ancestor has it and ");
    text_put(&text, still ? "still " : "");
    text_put(&text, "waits for this process (nested=");
    text_put(&text, option);
    text_put(&text, ")");
}

int family_look(struct family *family, struct target *target, bool exclusive, uint64_t now,
                int *ret_fd) {
    uint64_t pause = family->interval, rarest = RAREST_LOOK;
    enum rule_nested nested = target->rule->options->nested;
    if (nested != NESTED_WAIT) {
        switch (nested_look(&family->nested, exclusive, ret_fd)) {
        case NESTED_OURSELVES:
            if (!family->waits_for_own) {
                return WAITED_OURS;
            }
            break;
        case NESTED_ANCESTOR:
            if (nested != NESTED_FAIL) {
                put_why(target, family->nested.still, "pass");
                return WAITED_PASS;
            }
            put_why(target, family->nested.still, "fail");
            target->remedy = REMEDY_NESTED;
            return -EDEADLK;
        case NESTED_MAYBE:
            family->look = family->nested.look_again;
            return WAITED_LOCKED;
        case NESTED_BUSY:
            rarest = RAREST_LOOK_AT_ANCESTOR; /* it may fall asleep at any time */
            break;
        case NESTED_OTHERS:
        case NESTED_NO:
            break;
        }
    }
    uint64_t end = clock_now(), shortest = wait_pause_after(end - now);
    family->interval = 2 * pause < rarest ? 2 * pause : rarest;
    family->look = end + (pause > shortest ? pause : shortest);
    return WAITED_LOCKED;
}
