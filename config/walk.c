#include "config/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/sys_linux.h"

#define LINKS_MAX 40 /* path_resolution(7) */

/* What is still to be followed lies at the end of c->scratch, so that the text
 * of a link has room in front of it; c->path is the way so far, without a slash
 * at its end ("" is the root). */
struct walk {
    struct canonical *c;
    size_t rest; /* where in c->scratch */
    size_t text; /* length of a link's text at its start; 0 */
    int links;
};

static int enter(struct canonical *c, int dirfd, const char *name, int more) {
    int fd = sys_openat(dirfd, name, O_PATH | O_DIRECTORY | O_CLOEXEC | more, 0);
    if (fd < 0) {
        return fd;
    }
    canonical_done(c);
    c->directory = fd;
    return 0;
}

static int to_root(struct canonical *c) {
    c->length = 0;
    return enter(c, AT_FDCWD, "/", 0);
}

/* getcwd(2) needs no /proc. What lies outside of our root has no path. */
static int to_working_directory(struct canonical *c) {
    long r = SYS_CALL(SYS_getcwd, c->path, sizeof(c->path), 0, 0, 0, 0);
    if (r < 0) {
        return (int)r;
    }
    if (c->path[0] != '/') {
        return -ENOENT;
    }
    c->length = strlen(c->path);
    c->length -= c->length == 1;
    return enter(c, AT_FDCWD, ".", 0);
}

static int to_parent(struct canonical *c) {
    while (c->length > 0 && c->path[--c->length] != '/') {
    }
    return enter(c, c->directory, "..", 0);
}

static int append(struct canonical *c, const char *name, size_t length) {
    if (c->length + length + 2 > sizeof(c->path)) {
        return -ERANGE;
    }
    c->path[c->length++] = '/';
    memcpy(c->path + c->length, name, length);
    c->length += length;
    return 0;
}

/* Puts the text of a link in front of the rest, which begins with a slash or is
 * empty. */
static int follow_text(struct walk *walk) {
    struct canonical *c = walk->c;
    if (walk->links++ == LINKS_MAX) {
        return -ELOOP;
    }
    walk->rest -= walk->text;
    memmove(c->scratch + walk->rest, c->scratch, walk->text);
    walk->text = 0;
    return c->scratch[walk->rest] == '/' ? to_root(c) : 0;
}

/* The path leads to a directory: its name in its parent, as canonical_resolve
 * gives it. */
static int finish_directory(struct canonical *c) {
    c->path[c->length] = '\0';
    if (c->length == 0) {
        strcpy(c->path, "/");
        c->length = 1;
    }
    c->name = strrchr(c->path, '/') + 1;
    return enter(c, c->directory, "..", 0);
}

static int finish_file(struct canonical *c, const char *name, size_t length) {
    int r = append(c, name, length);
    if (r < 0) {
        return r;
    }
    c->path[c->length] = '\0';
    c->name = c->path + c->length - length;
    return 0;
}

/* A component that is neither "." nor "..": a link that is to be followed, a
 * directory on the way, or the end. 1 when all is done. */
static int step_name(struct walk *walk, char *name, bool last, bool follow) {
    struct canonical *c = walk->c;
    size_t length = strlen(name), room = (size_t)(name - c->scratch);
    if (room == 0) {
        return -ERANGE;
    }
    ssize_t text = sys_readlinkat(c->directory, name, c->scratch, room);
    if (text >= 0 && (!last || follow)) {
        if ((size_t)text >= room) {
            return -ERANGE;
        }
        walk->text = (size_t)text;
        return 0;
    }
    if (text < 0 && text != -EINVAL && text != -ENOENT) {
        return (int)text;
    }
    int r;
    if (last) {
        c->is_link = text >= 0;
        r = finish_file(c, name, length);
        return r < 0 ? r : 1;
    }
    r = enter(c, c->directory, name, O_NOFOLLOW);
    return r < 0 ? r : append(c, name, length);
}

/* The next component; 1 when all is done. */
static int step(struct walk *walk, bool follow) {
    struct canonical *c = walk->c;
    char *name = c->scratch + walk->rest;
    name += strspn(name, "/");
    if (*name == '\0') {
        int r = finish_directory(c);
        return r < 0 ? r : 1;
    }
    char *end = name + strcspn(name, "/"), after = *end;
    walk->rest = (size_t)(end - c->scratch);
    *end = '\0';
    int r = 0;
    if (strcmp(name, "..") == 0) {
        r = to_parent(c);
    } else if (strcmp(name, ".") != 0) {
        r = step_name(walk, name, after == '\0', follow);
    }
    *end = after;
    return r == 0 && walk->text > 0 ? follow_text(walk) : r;
}

int walk_resolve(int dirfd, const char *path, bool follow, struct canonical *ret) {
    size_t size = strlen(path) + 1;
    struct walk walk = {.c = ret, .rest = sizeof(ret->scratch) - size};
    int r;
    ret->is_link = ret->via_proc = false;
    memcpy(ret->scratch + walk.rest, path, size);
    if (path[0] == '/') {
        r = to_root(ret);
    } else if (dirfd == AT_FDCWD) {
        r = to_working_directory(ret);
    } else {
        return -EOPNOTSUPP;
    }
    while (r == 0) {
        r = step(&walk, follow);
    }
    return r < 0 ? r : 0;
}
