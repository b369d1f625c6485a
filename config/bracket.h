/*
 * Bracket expressions of patterns: [abc], [a-z], [!0-9], [[:alpha:]_].
 *
 * '!' or '^' in front negates, a ']' that comes first stands for itself, '\'
 * takes the next character literally. Classes know ASCII only; the equivalence
 * and collating forms of POSIX ([=a=], [.a.]) depend on a locale and do not
 * exist here. `open` points at the '[', `end` behind the text that may be read.
 */
#ifndef AUTOLOCK_BRACKET_H
#define AUTOLOCK_BRACKET_H

#include <stdbool.h>
#include <stdint.h>

/* Returns what follows the closing bracket, or NULL where there is none. */
const char *bracket_end(const char *open, const char *end);

/* The same, and whether the character (as from utf8_decode) is one of it. */
const char *bracket_match(const char *open, const char *end, uint32_t character, bool *ret);

/* NULL, or what is wrong with it. */
const char *bracket_fault(const char *open, const char *end);

#endif
