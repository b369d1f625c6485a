/*
 * Patterns: the shell-like language in which rules name files.
 *
 * Matching is over canonical absolute paths ("/srv/a.csv"; no ".", "..",
 * double or trailing slash). A pattern without '/' is held against the last
 * component; one with a '/' elsewhere than in front as if "**" "/" stood before
 * it; one with a leading '/' against the whole path. A trailing '/' means
 * everything below that directory. '*', '?' and [...] never match '/', a
 * component "**" matches any number of components. '\' takes the next
 * character literally. '?' and [...] match one UTF-8 character, or one byte
 * where the bytes are not UTF-8. gitignore(5) has the same language; fnmatch(3)
 * is not used because it depends on the program's locale.
 *
 * Pure functions, no allocation, bounded stack (no recursion per character),
 * time at most proportional to pattern length times path length.
 */
#ifndef AUTOLOCK_PATTERN_H
#define AUTOLOCK_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* Longer patterns are faulty: no path is longer (PATH_MAX). */
#define PATTERN_LENGTH_MAX 4095

/* NULL, or what is wrong with the pattern ("unclosed bracket", ...). */
const char *pattern_fault(const char *pattern);

/* A faulty pattern matches as it can, mostly nothing. */
bool pattern_match(const char *pattern, const char *path);

/* The same for the first `length` bytes of `path`. */
bool pattern_match_prefix(const char *pattern, const char *path, size_t length);

/* Whether some path with this last component (length bytes) can match. May say
 * yes too often, never no wrongly. */
bool pattern_may_match_name(const char *pattern, const char *name, size_t length);

/* The byte with which the name of every path ends that can match, or -1 where
 * there is no such byte: for whoever asks the question of many patterns. */
int pattern_last_byte(const char *pattern);

/* With how many bytes of the pattern itself every path begins that can match. */
size_t pattern_literal_length(const char *pattern);

#endif
