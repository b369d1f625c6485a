/* What sidecars are called (config/sidecar_path.h). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/sidecar_path.h"

static char name[SIDECAR_NAME_SIZE];

Test(sidecar_path, names) {
    cr_expect(sidecar_name("/srv/a.csv", NULL, name));
    cr_expect_str_eq(name, "a.csv.lock");
    cr_expect(sidecar_name("/a.csv", NULL, name));
    cr_expect_str_eq(name, "a.csv.lock");
    cr_expect(sidecar_name("/srv/a.csv", "/run/locks", name));
    cr_expect_str_eq(name, "/run/locks/%srv%a.csv.lock");
    cr_expect(sidecar_name("/50%/a=b", "/run", name));
    cr_expect_str_eq(name, "/run/%50=25%a=3Db.lock");
}

Test(sidecar_path, the_last_component_is_not_longer_than_a_name_may_be) {
    char path[400] = "/";
    memset(path + 1, 'x', 251);
    cr_expect_not(sidecar_name(path, NULL, name));
    cr_expect_eq(strlen(name), 255);
    path[251] = '\0';
    cr_expect(sidecar_name(path, NULL, name));
    cr_expect_eq(strlen(name), 255);
    cr_expect_not(sidecar_name(path, "/run", name), "one more, for the slash");
    char lockdir[LOCKDIR_MAX + 1] = "/";
    memset(lockdir + 1, 'y', LOCKDIR_MAX - 1);
    path[250] = '\0';
    cr_expect(sidecar_name(path, lockdir, name), "the longest of all");
    cr_expect_eq(strlen(name), SIDECAR_NAME_SIZE - 1);
}

Test(sidecar_path, owners) {
    static const struct {
        const char *sidecar, *beside, *in_lockdir; /* NULL: it is none */
    } cases[] = {
        {"/srv/a.csv.lock", "/srv/a.csv", NULL},
        {"/run/%srv%a.csv.lock", "/run/%srv%a.csv", "/srv/a.csv"},
        {"/run/%50=25%a=3Db.lock", "/run/%50=25%a=3Db", "/50%/a=b"},
        {"/srv/.lock", NULL, NULL},
        {"/srv/a.csv", NULL, NULL},
        {".lock", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int in_lockdir = 0; in_lockdir < 2; in_lockdir++) {
            const char *expected = in_lockdir ? cases[i].in_lockdir : cases[i].beside;
            char path[100];
            snprintf(path, sizeof(path), "%s", cases[i].sidecar);
            cr_expect_eq(sidecar_owner(path, in_lockdir), expected != NULL, "%s", cases[i].sidecar);
            cr_expect_str_eq(path, expected ? expected : cases[i].sidecar);
        }
    }
}
