/*
 * Small texts (messages, paths below /proc), put together without stdio: no
 * malloc, no locale, async-signal-safe. What does not fit is cut; the buffer is
 * always terminated.
 */
#ifndef AUTOLOCK_TEXT_H
#define AUTOLOCK_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
    char *start;
    size_t size, length;
};

/* Declares a text in a buffer of the caller's stack frame. */
#define TEXT(name, bytes)                                                                          \
    char name##_buffer[bytes] = "";                                                                \
    struct text name = {.start = name##_buffer, .size = sizeof(name##_buffer), .length = 0}

void text_put(struct text *text, const char *string);
void text_put_number(struct text *text, uint64_t number, unsigned base);
/* The entry of a descriptor in /proc, of 25 bytes at most. */
void text_put_descriptor(struct text *text, int fd);
/* As a user may see it: control characters become '?'. */
void text_put_visible(struct text *text, const char *string);
/* Microseconds as "12.4 s" or "150 ms". */
void text_put_duration(struct text *text, uint64_t usec);

#endif
