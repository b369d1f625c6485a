/*
 * What becomes of a hold that has been taken: given back, or kept to the end of the
 * process (contract H8).
 */
#include "shim/failure.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/start.h"

void hold_drop(int twin) {
    if (twin >= 0) {
        hidden_close(twin);
    }
}

int hold_keep(struct target *target, int twin, int *ret_kept) {
    table_word word = table_get(twin);
    struct sidecar_id id;
    *ret_kept = -1;
    if (!table_id(twin, word, &id) ||
        (hidden_find_marked(id, TABLE_KEPT) >= 0 && !start_config.observe)) {
        return 0; /* none was taken, or it is kept already */
    }
    int kept = hidden_make(twin, MODE_EXCLUSIVE, id);
    if (kept < 0) {
        return failure_decide(target, kept);
    }
    *ret_kept = kept;
    return 0;
}

void hold_kept(int kept, bool succeeded) {
    if (kept >= 0 && succeeded) {
        hidden_mark(kept, TABLE_KEPT);
    } else {
        hold_drop(kept);
    }
}
