/* libconfuse does the syntax. It gets the text without its comments, because it counts the lines of
 * a comment twice, takes no comment within a list, and does not report one that is never closed. It
 * gets text and not a file, because its scanner ends the process when a read fails. */
#include "config/config_settings.h"

#include "common/fd.h"

#include <confuse.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>

#define CONFIG_FILE_MAX (1 << 20) /* bytes */

/* One run of the parser. */
struct config_parse {
    const char *shown;
    struct settings *settings;
    char *error;
    bool included;            /* this is not the file of -c */
    bool failed;              /* error is written; the first one stands */
    int set_on[OPTION_COUNT]; /* the line that has set an option, or 0 */
};

/* libconfuse hands no pointer of ours to its callbacks. Set during one parse only. */
static struct config_parse *config_parse_now;

static const char *
file_open_reason(int err)
{
    switch (err) {
    case ENOENT:
        return "there is no such file";
    case EISDIR:
        return "this is a directory, not a file";
    case EINVAL:
        return "this is not a regular file";
    case EFBIG:
        return "this is larger than 1M and cannot be a configuration";
    case EACCES:
        return "no permission to read it";
    default:
        return strerror(err);
    }
}

/* Overwrites with blanks, line ends excepted. */
static void
file_blank(char *from, const char *to)
{
    for (; from < to; from++)
        if (*from != '\n')
            *from = ' ';
}

/* The end of a quoted string that begins at s, behind its last quote, or NULL. */
static char *
file_string_end(char *s)
{
    char quote = *s++;

    while (*s != '\0' && *s != quote) {
        if (*s == '\\' && s[1] != '\0')
            s++;
        s++;
    }
    return *s == '\0' ? NULL : s + 1;
}

/* The end of a comment that begins at s; s itself where none does; NULL where it is not closed. */
static char *
file_comment_end(char *s)
{
    char *end = s;

    if (*s == '#' || strncmp(s, "//", 2) == 0)
        return s + strcspn(s, "\n");
    if (strncmp(s, "/*", 2) == 0) {
        end = strstr(s + 2, "*/");
        return end == NULL ? NULL : end + 2;
    }
    return end;
}

static int
file_line(const char *text, const char *at)
{
    int line = 1;

    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* libconfuse would end a word at these two and lose what follows, without a sound. */
static bool
file_cuts_word(const char *s)
{
    return *s == '#' || (*s == '+' && s[1] != '=');
}

/* The end of the string or comment at s; s itself where none begins; NULL where it is not
 * closed. */
static char *
file_piece_end(char *s)
{
    if (*s == '"' || *s == '\'')
        return file_string_end(s);
    return file_comment_end(s);
}

/* Blanks all comments out. A // within a word, as in a URL without quotes, is none. */
static int
file_drop_comments(const struct config_parse *p, char *text)
{
    bool in_word = false;

    for (char *s = text; *s != '\0';) {
        bool quoted = *s == '"' || *s == '\'';
        char *end = in_word && !quoted ? s : file_piece_end(s);

        if (in_word && file_cuts_word(s))
            return config_fail(p->error, "%s:%d: a value with %c in it stands in quotes", p->shown,
                               file_line(text, s), *s);
        if (end == NULL)
            return config_fail(p->error, "%s:%d: the %s that begins here has no end", p->shown,
                               file_line(text, s), *s == '/' ? "comment" : "string");
        if (end == s) {
            in_word = strchr(" \t\r\n={},", *s) == NULL;
            s++;
            continue;
        }
        if (!quoted)
            file_blank(s, end);
        in_word = false;
        s = end;
    }
    return 0;
}

static int
file_check_repeated(struct config_parse *p, const cfg_t *cfg, const cfg_opt_t *opt, size_t id)
{
    bool first = config_options[id].type != OPTION_TYPE_LIST || opt->nvalues <= 1;
    const char *name = config_options[id].name;

    if (first && p->set_on[id] != 0)
        return config_fail(p->error, "%s:%d: %s is set already on line %d%s", p->shown, cfg->line,
                           name, p->set_on[id],
                           config_options[id].type == OPTION_TYPE_LIST
                               ? "; list all in one: listen = { ..., ... }"
                               : "");
    if (first)
        p->set_on[id] = cfg->line;
    return 0;
}

/* "msockd.conf:12: timeout = "2s"", and for lists, whose elements are quoted later, without
 * value. */
static void
file_origin(const struct config_parse *p, const cfg_t *cfg, const struct config_option *option,
            const char *value, char *out, size_t size)
{
    char quoted[CONFIG_QUOTED_LEN];

    if (option->type == OPTION_TYPE_LIST)
        snprintf(out, size, "%.200s:%d: %s", p->shown, cfg->line, option->name);
    else
        snprintf(out, size, "%.200s:%d: %s = \"%s\"", p->shown, cfg->line, option->name,
                 config_quote(value, quoted));
}

/* Called by libconfuse for every value. */
static int
file_take_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct config_parse *p = config_parse_now;
    const struct config_option *option = config_option_find(opt->name, OPTION_IN_FILE);
    char origin[CONFIG_ERROR_LEN];

    MS_ASSERT(p != NULL && option != NULL);
    file_origin(p, cfg, option, value, origin, sizeof(origin));
    if (p->included && option == &config_options[OPTION_INCLUDE]) {
        p->failed = true;
        return config_fail(p->error, "%s: this file is included itself", origin);
    }
    if (file_check_repeated(p, cfg, opt, (size_t)(option - config_options)) < 0 ||
        settings_set(p->settings, option, value, origin, p->error) < 0) {
        p->failed = true;
        return -1;
    }
    *(const char **)result = value; /* copied by libconfuse */
    return 0;
}

static void file_take_error(cfg_t *cfg, const char *fmt, va_list ap) MS_PRINTF(2, 0);

/* Called by libconfuse for what it finds wrong by itself. */
static void
file_take_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    struct config_parse *p = config_parse_now;
    char text[256], name[128], place[256], quoted[CONFIG_QUOTED_LEN];

    if (p->failed)
        return;
    p->failed = true;
    vsnprintf(text, sizeof(text), fmt, ap);
    snprintf(place, sizeof(place), "%.200s:%d", p->shown, cfg->line);
    if (sscanf(text, "no such option '%127[^']'", name) != 1)
        config_fail(p->error, "%s: %s", place, config_quote(text, quoted));
    else if (settings_option(name, place, p->error) != NULL)
        config_fail(p->error, "%s: %s", place, config_quote(text, quoted));
}

/* All options of the file as libconfuse wants them; every value is text for it. */
static void
file_options(cfg_opt_t opts[OPTION_COUNT + 1])
{
    const cfg_opt_t end = CFG_END();
    size_t n = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *o = &config_options[i];
        cfg_opt_t one = CFG_STR_CB(o->name, NULL, CFGF_NODEFAULT, file_take_value);
        cfg_opt_t list = CFG_STR_LIST_CB(o->name, NULL, CFGF_NODEFAULT, file_take_value);

        if ((o->scope & OPTION_IN_FILE) != 0)
            opts[n++] = o->type == OPTION_TYPE_LIST ? list : one;
    }
    opts[n] = end;
}

static int
file_parse(struct config_parse *p, const char *text)
{
    cfg_opt_t opts[OPTION_COUNT + 1];
    cfg_t *cfg;
    int rc;

    file_options(opts);
    cfg = cfg_init(opts, CFGF_NONE);
    if (cfg == NULL)
        return config_fail(p->error, "%s: out of memory", p->shown);
    cfg_set_error_function(cfg, file_take_error);
    config_parse_now = p;
    rc = cfg_parse_buf(cfg, text);
    config_parse_now = NULL;
    cfg_free(cfg);
    if (rc == CFG_SUCCESS)
        return 0;
    if (!p->failed)
        config_fail(p->error, "%s: this cannot be read as a configuration", p->shown);
    return -1;
}

/* Editors of other systems put a byte order mark before the text, where nobody sees it. */
static void
file_blank_mark(char *text)
{
    static const char mark[] = "\xEF\xBB\xBF";

    if (strncmp(text, mark, strlen(mark)) == 0)
        file_blank(text, text + strlen(mark));
}

static int
file_read(const char *path, const char *shown, bool included, struct settings *settings,
          char *error)
{
    struct config_parse parse = {
        .shown = shown, .settings = settings, .error = error, .included = included};
    char *text;
    size_t len;
    int rc;

    if (fd_read_file(path, CONFIG_FILE_MAX, &text, &len) < 0)
        return config_fail(error, "%.200s: %s", shown, file_open_reason(errno));
    file_blank_mark(text);
    if (strlen(text) != len)
        rc = config_fail(error, "%.200s:%d: there is a NUL byte; this is not a text", shown,
                         file_line(text, text + strlen(text)));
    else
        rc = file_drop_comments(&parse, text);
    if (rc == 0)
        rc = file_parse(&parse, text);
    free(text);
    return rc;
}

/* A folder that is not there includes nothing. */
static int
file_glob_failed(const char *path, int err)
{
    (void)path;
    return err != ENOENT;
}

/* The files of a pattern beside the file at path. Returns 0 and files for globfree, or -1. */
static int
file_find_included(const char *path, const struct settings *settings, glob_t *files_out,
                   char *error)
{
    const char *origin = settings->origin[OPTION_INCLUDE];
    char *folder = ms_strdup(path), *pattern;
    int rc;

    *strrchr(folder, '/') = '\0';
    rc = config_path(folder, settings->text[OPTION_INCLUDE], origin, &pattern, error);
    free(folder);
    if (rc < 0)
        return -1;
    rc = glob(pattern, 0, file_glob_failed, files_out);
    free(pattern);
    if (rc == 0 || rc == GLOB_NOMATCH)
        return 0;
    globfree(files_out);
    return config_fail(error, "%s: %s", origin,
                       rc == GLOB_NOSPACE ? "out of memory" : "the folder cannot be read");
}

int
config_file_read(const char *path, const char *shown, struct settings *settings,
                 char error[CONFIG_ERROR_LEN])
{
    glob_t files = {0};
    int rc = file_read(path, shown, false, settings, error);

    if (rc < 0 || settings->text[OPTION_INCLUDE][0] == '\0')
        return rc;
    if (file_find_included(path, settings, &files, error) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < files.gl_pathc; i++)
        rc = file_read(files.gl_pathv[i], files.gl_pathv[i], true, settings, error);
    globfree(&files);
    return rc;
}
