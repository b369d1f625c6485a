#include "config/utf8.h"

/* Length that a first byte announces; 0 where none starts with it. */
static size_t announced(unsigned char first) {
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2) { /* a continuation byte, or an overlong form */
        return 0;
    }
    if (first < 0xe0) {
        return 2;
    }
    if (first < 0xf0) {
        return 3;
    }
    return first < 0xf5 ? 4 : 0;
}

size_t utf8_decode(const char *text, const char *end, uint32_t *ret) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)*text;
    size_t length = announced(first);
    uint32_t character = length > 1 ? first & (0x7fu >> length) : first;

    if (length == 0 || length > (size_t)(end - text)) {
        goto stray;
    }
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)text[i];
        if ((next & 0xc0) != 0x80) {
            goto stray;
        }
        character = character << 6 | (next & 0x3f);
    }
    if (character < least[length] || character >= UTF8_STRAY ||
        (character >= 0xd800 && character < 0xe000)) {
        goto stray;
    }
    *ret = character;
    return length;

stray:
    *ret = UTF8_STRAY + first;
    return 1;
}
