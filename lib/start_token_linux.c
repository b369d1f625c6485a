#include "lib/start_token.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "lib/process_stat.h"

#define LIMBS 6 /* of 32 bits, the lowest first */

/* "b2cb5bb4-3ea1-4ae2-...": 32 hexadecimal digits, the highest first. */
static int read_boot_id(uint32_t limbs[LIMBS]) {
    char text[64];
    ssize_t n = process_stat_file("/proc/sys/kernel/random/boot_id", text, sizeof(text));
    if (n < 0) {
        return (int)n;
    }
    int digits = 0;
    for (const char *p = text; *p && digits < 32; p++) {
        int value;
        if (*p >= '0' && *p <= '9') {
            value = *p - '0';
        } else if (*p >= 'a' && *p <= 'f') {
            value = *p - 'a' + 10;
        } else {
            continue;
        }
        int limb = LIMBS - 1 - digits / 8;
        limbs[limb] = limbs[limb] << 4 | (uint32_t)value;
        digits++;
    }
    return digits == 32 ? 0 : -EINVAL;
}

static uint32_t divide_by_ten(uint32_t limbs[LIMBS]) {
    uint64_t rest = 0;
    for (int i = LIMBS - 1; i >= 0; i--) {
        rest = rest << 32 | limbs[i];
        limbs[i] = (uint32_t)(rest / 10);
        rest %= 10;
    }
    return (uint32_t)rest;
}

static int is_zero(const uint32_t limbs[LIMBS]) {
    uint32_t any = 0;
    for (int i = 0; i < LIMBS; i++) {
        any |= limbs[i];
    }
    return any == 0;
}

int start_token_of(const struct process_stat *stat, char ret[START_TOKEN_SIZE]) {
    uint32_t limbs[LIMBS] = {0};
    int r = read_boot_id(limbs);
    if (r < 0) {
        return r;
    }
    limbs[0] = (uint32_t)stat->start;
    limbs[1] = (uint32_t)(stat->start >> 32);
    char digits[START_TOKEN_SIZE];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + divide_by_ten(limbs));
    } while (!is_zero(limbs));
    memcpy(ret, digits + at, sizeof(digits) - at);
    return 0;
}

int start_token(pid_t pid, char ret[START_TOKEN_SIZE]) {
    struct process_stat stat;
    int r = process_stat_read(pid, &stat);
    return r < 0 ? r : start_token_of(&stat, ret);
}
