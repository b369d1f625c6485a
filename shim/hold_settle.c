#include "shim/gate.h"
#include "shim/hidden.h"
#include "shim/hold.h"
#include "shim/upgrade.h"
#include "shim/wait.h"

/* Set first, then looked for others: a signal handler of this thread may take one
 * in between. */
bool hold_settle(int twin, struct sidecar_id id, enum table_mode mode) {
    table_word word;
    struct gate gate = gate_enter_alone();
    hidden_set_mode(twin, mode);
    if (mode == MODE_LOST) {
        upgrade_may_be_lost();
    }
    bool second = hidden_find(id, twin, &word) >= 0 && table_mode(word) >= MODE_SHARED;
    if (second) {
        hidden_set_mode(twin, MODE_WAITING);
    }
    gate_leave(gate);
    if (!second) {
        wait_wake();
    }
    return !second;
}
