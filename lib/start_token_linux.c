#include "lib/start_token.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/sys_linux.h"

#define LIMBS 6 /* of 32 bits, the lowest first */

/* Reads a small file whole. Returns its length. */
static ssize_t read_file(const char *path, char *ret, size_t size) {
    int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    ssize_t n = sys_read(fd, ret, size - 1);
    (void)sys_close(fd);
    ret[n > 0 ? n : 0] = '\0';
    return n;
}

/* "b2cb5bb4-3ea1-4ae2-...": 32 hexadecimal digits, the highest first. */
static int read_boot_id(uint32_t limbs[LIMBS]) {
    char text[64];
    ssize_t n = read_file("/proc/sys/kernel/random/boot_id", text, sizeof(text));
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

/* Field 22; the name, field 2, is in parentheses and may hold anything. */
static int read_start_time(pid_t pid, uint64_t *ret) {
    char path[32], text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    ssize_t n = read_file(path, text, sizeof(text));
    if (n < 0) {
        return n == -ENOENT ? -ESRCH : (int)n;
    }
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (!at) {
        return -EINVAL;
    }
    *ret = 0;
    for (at++; *at >= '0' && *at <= '9'; at++) {
        *ret = *ret * 10 + (uint64_t)(*at - '0');
    }
    return 0;
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

int start_token(pid_t pid, char ret[START_TOKEN_SIZE]) {
    uint32_t limbs[LIMBS] = {0};
    uint64_t start;
    int r = read_start_time(pid, &start);
    if (r < 0) {
        return r;
    }
    r = read_boot_id(limbs);
    if (r < 0) {
        return r;
    }
    limbs[0] = (uint32_t)start;
    limbs[1] = (uint32_t)(start >> 32);
    char digits[START_TOKEN_SIZE];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + divide_by_ten(limbs));
    } while (!is_zero(limbs));
    memcpy(ret, digits + at, sizeof(digits) - at);
    return 0;
}
