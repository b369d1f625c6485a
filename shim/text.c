#include "shim/text.h"

#include "lib/clock.h"

static void put_character(struct text *text, char c) {
    if (text->length + 1 < text->size) {
        text->start[text->length++] = c;
        text->start[text->length] = '\0';
    }
}

void text_put(struct text *text, const char *string) {
    while (*string) {
        put_character(text, *string++);
    }
}

void text_put_visible(struct text *text, const char *string) {
    for (; *string; string++) {
        unsigned char c = (unsigned char)*string;
        put_character(text, c < 0x20 || c == 0x7f ? '?' : *string);
    }
}

void text_put_number(struct text *text, uint64_t number, unsigned base) {
    char digits[21];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    text_put(text, digits + at);
}

void text_put_descriptor(struct text *text, int fd) {
    text_put(text, "/proc/self/fd/");
    text_put_number(text, (uint64_t)(unsigned)fd, 10);
}

void text_put_duration(struct text *text, uint64_t usec) {
    if (usec < CLOCK_SECOND) {
        text_put_number(text, usec / CLOCK_MILLISECOND, 10);
        text_put(text, " ms");
        return;
    }
    uint64_t tenths = (usec + CLOCK_SECOND / 20) / (CLOCK_SECOND / 10);
    text_put_number(text, tenths / 10, 10);
    if (tenths % 10) {
        text_put(text, ".");
        text_put_number(text, tenths % 10, 10);
    }
    text_put(text, " s");
}
