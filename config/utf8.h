/*
 * One character of UTF-8 at a time, whatever the locale (RFC 3629).
 */
#ifndef AUTOLOCK_UTF8_H
#define AUTOLOCK_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What a byte that is not UTF-8 counts as: itself, apart from all characters. */
#define UTF8_STRAY UINT32_C(0x110000)

/* Reads the character at `text`, before `end` (text < end). Returns its length
 * in bytes; 1 for a stray byte, with the value UTF8_STRAY + byte. */
size_t utf8_decode(const char *text, const char *end, uint32_t *ret);

#endif
