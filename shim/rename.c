/*
 * rename and unlink, and their kin: edges over naming.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "shim/naming.h"
#include "shim/real.h"
#include "shim/scratch.h"
#include "shim/start.h"
#include "shim/wrap.h"

/* Of renameat2(2); not every libc names them. */
#define NOREPLACE 1u
#define EXCHANGE 2u

static int fail(int error) {
    errno = -error;
    return -1;
}

static bool may_match(const char *path) {
    return path && target_may_match(path);
}

/* Looks at the directory that a name is in. `room`: for a path. 0, 1 for "cannot tell", or
 * an error that the call will meet as well. */
static int look_at_directory(const struct naming_name *name, char *room, size_t size,
                             struct sys_stat *ret) {
    const char *slash = strrchr(name->path, '/');
    const char *last = slash ? slash + 1 : name->path;
    size_t length = slash ? (size_t)(last - name->path) : 1;
    if (!*last || length >= size) {
        return 1;
    }
    memcpy(room, slash ? name->path : ".", length);
    room[length] = '\0';
    return sys_stat(name->dirfd, room, 0, ret);
}

/* Whether both are in directories of one mount, without which there is no rename. */
static bool is_possible(const struct naming_name *from, const struct naming_name *to) {
    struct sys_stat a, b;
    bool same = from->dirfd == to->dirfd && !strchr(from->path, '/') && !strchr(to->path, '/');
    struct target *target = same ? NULL : scratch_get();
    if (!target) {
        return true;
    }
    char *room = target->where.scratch;
    int r = look_at_directory(from, room, sizeof(target->where.scratch), &a);
    if (r == 0) {
        r = look_at_directory(to, room, sizeof(target->where.scratch), &b);
    }
    scratch_put(target);
    bool told = r == 0 && a.mask & b.mask & SYS_STATX_MNT_ID;
    return r >= 0 && (!told || a.mnt_id == b.mnt_id);
}

/* Whether the call would fail anyway, so that nothing need be waited for (as
 * contract O3 has it for opens); the call itself will say how. */
static bool fails_anyway(const struct naming_name *from, const struct naming_name *to,
                         unsigned flags) {
    struct sys_stat stat;
    if (sys_stat(from->dirfd, from->path, AT_SYMLINK_NOFOLLOW, &stat) < 0) {
        return true;
    }
    bool directory = S_ISDIR(stat.mode);
    int r = sys_stat(to->dirfd, to->path, AT_SYMLINK_NOFOLLOW, &stat);
    if ((r < 0 && (r != -ENOENT || flags & EXCHANGE)) || !is_possible(from, to)) {
        return true;
    }
    return r == 0 && !(flags & EXCHANGE) && (flags & NOREPLACE || directory != S_ISDIR(stat.mode));
}

typedef int real_rename(int from_directory, const char *from, int to_directory, const char *to,
                        unsigned flags);

static int rename_any(int from_directory, const char *from, int to_directory, const char *to,
                      unsigned flags, real_rename *call) {
    if (!shim_is_active() || !from || !to || !(may_match(from) || may_match(to))) {
        return call(from_directory, from, to_directory, to, flags);
    }
    struct naming_name names[] = {
        {.dirfd = from_directory,
         .path = from,
         .role = flags & EXCHANGE ? NAMING_REPLACED : NAMING_GOES},
        {.dirfd = to_directory, .path = to, .role = NAMING_REPLACED},
    };
    if (fails_anyway(&names[0], &names[1], flags)) {
        return call(from_directory, from, to_directory, to, flags);
    }
    int r = naming_begin(names, 2);
    if (r < 0) {
        return fail(r);
    }
    int result;
    if (!names[0].target && !names[1].target) {
        result = call(from_directory, from, to_directory, to, flags);
    } else if (flags == 0) {
        result = real.renameat(naming_directory(&names[0]), naming_path(&names[0]),
                               naming_directory(&names[1]), naming_path(&names[1]));
    } else {
        result = real.renameat2(naming_directory(&names[0]), naming_path(&names[0]),
                                naming_directory(&names[1]), naming_path(&names[1]), flags);
    }
    int saved = errno;
    naming_end(names, 2, result == 0);
    errno = saved;
    return result;
}

static int real_rename_plain(int from_directory, const char *from, int to_directory, const char *to,
                             unsigned flags) {
    (void)from_directory;
    (void)to_directory;
    (void)flags;
    return real.rename(from, to);
}
int wrap_rename(const char *from, const char *to) {
    return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0, real_rename_plain);
}

static int real_renameat(int from_directory, const char *from, int to_directory, const char *to,
                         unsigned flags) {
    (void)flags;
    return real.renameat(from_directory, from, to_directory, to);
}
int wrap_renameat(int from_directory, const char *from, int to_directory, const char *to) {
    return rename_any(from_directory, from, to_directory, to, 0, real_renameat);
}

static int real_renameat2(int from_directory, const char *from, int to_directory, const char *to,
                          unsigned flags) {
    return real.renameat2(from_directory, from, to_directory, to, flags);
}
int wrap_renameat2(int from_directory, const char *from, int to_directory, const char *to,
                   unsigned flags) {
    return rename_any(from_directory, from, to_directory, to, flags, real_renameat2);
}

typedef int real_unlink(int directory, const char *path);

static int unlink_any(int directory, const char *path, real_unlink *call) {
    if (!shim_is_active() || !may_match(path)) {
        return call(directory, path);
    }
    struct naming_name name = {.dirfd = directory, .path = path, .role = NAMING_GOES};
    int r = naming_begin(&name, 1);
    if (r < 0) {
        return fail(r);
    }
    int result = name.target ? real.unlinkat(naming_directory(&name), naming_path(&name), 0)
                             : call(directory, path);
    int saved = errno;
    naming_end(&name, 1, result == 0);
    errno = saved;
    return result;
}

static int real_unlink_plain(int directory, const char *path) {
    (void)directory;
    return real.unlink(path);
}
int wrap_unlink(const char *path) {
    return unlink_any(AT_FDCWD, path, real_unlink_plain);
}

static int real_unlinkat(int directory, const char *path) {
    return real.unlinkat(directory, path, 0);
}
int wrap_unlinkat(int directory, const char *path, int flags) {
    return flags ? real.unlinkat(directory, path, flags)
                 : unlink_any(directory, path, real_unlinkat);
}

static int real_remove(int directory, const char *path) {
    (void)directory;
    return real.remove(path);
}
int wrap_remove(const char *path) {
    return unlink_any(AT_FDCWD, path, real_remove);
}
