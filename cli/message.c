/* What the command says to its user. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli.h"

void print_text(FILE *stream, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            fprintf(stream, "\\%03o", (unsigned)c);
        else
            putc(c, stream);
    }
}

void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    _cleanup_free_ char *text = NULL;
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    fputs("autolock: ", stderr);
    if (length >= 0) {
        print_text(stderr, text, (size_t)length);
    } else {
        text = NULL; /* vasprintf(3) leaves it undefined */
        fputs("out of memory", stderr);
    }
    putc('\n', stderr);
}

void print_fault(const struct rules_fault *fault, void *data) {
    (void)data;
    fputs(fault->source, stderr);
    if (fault->line > 0)
        fprintf(stderr, ":%u", fault->line);
    fprintf(stderr, ": %s", fault->what);
    if (fault->length > 0) {
        fputs(": '", stderr);
        print_text(stderr, fault->text, fault->length);
        putc('\'', stderr);
    }
    putc('\n', stderr);
}

int cannot_execute(const char *command, int error) {
    complain("cannot run '%s': %s", command, strerror(error));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
}
