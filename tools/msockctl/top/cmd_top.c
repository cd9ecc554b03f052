/* msockctl top: the terminal, by ncurses, and its keys. Names from peers are escaped before they
 * come here, so nothing that is put on the screen can command the terminal. */
#include "top.h"

#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <sysexits.h>
#include <term.h>
#include <time.h>
#include <unistd.h>

#undef columns /* term.h has these for what a terminal can do */
#undef lines

#define DELAY_MIN_US UINT64_C(100000)
#define DELAY_MAX_US UINT64_C(60000000)
#define ONCE_WIDTH   160
#define KEY_ESCAPE   27

int top_run(struct ctl *ctl, int argc, char *argv[]);

struct top {
    struct top_model model;
    struct top_place place;
    struct top_frame frame;
    uint64_t delay_us, next_us;
    SCREEN *screen;
    bool leave;
};

/* --- the screen --- */

static int
style_attributes(enum top_style style)
{
    switch (style) {
    case TOP_PLAIN:
        return A_NORMAL;
    case TOP_STRONG:
        return A_BOLD;
    case TOP_GRAPH:
        return COLOR_PAIR(1);
    case TOP_TITLE:
        return A_BOLD | A_UNDERLINE;
    case TOP_CURSOR:
        return A_REVERSE;
    case TOP_WRONG:
        return A_BOLD | COLOR_PAIR(2);
    case TOP_FAINT:
        return A_DIM;
    }
    return A_NORMAL;
}

static void
screen_draw(struct top *t)
{
    t->frame.width = (size_t)COLS;
    t->frame.height = (size_t)LINES;
    top_frame_draw(&t->frame, &t->model, &t->place);
    erase();
    for (size_t i = 0; i < t->frame.count; i++) {
        attrset(style_attributes(t->frame.lines[i].style));
        mvaddstr((int)i, 0, t->frame.lines[i].text);
    }
    attrset(A_NORMAL);
    refresh();
}

/* Can the terminal place its cursor? ncurses would end the program where it cannot. */
static bool
terminal_can(void)
{
    int error;
    bool can;

    if (setupterm(NULL, STDOUT_FILENO, &error) != OK)
        return false;
    can = cursor_address != NULL;
    del_curterm(cur_term);
    return can;
}

/* Says why where the terminal cannot do what a screen needs. Returns EX_OK or a status. */
static int
screen_open(const struct ctl *ctl, struct top *t)
{
    const char *term = getenv("TERM");

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return ctl_usage(ctl, "this needs a terminal; --once prints one frame without");
    if (!terminal_can())
        return ctl_usage(ctl,
                         "the terminal \"%s\" cannot place its cursor; --once prints one frame, "
                         "stats --watch one after the other",
                         term != NULL ? term : "");
    t->screen = newterm(NULL, stdout, stdin);
    if (t->screen == NULL)
        return ctl_usage(ctl, "the terminal \"%s\" cannot be used; --once prints one frame", term);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, true);
    set_escdelay(25);
    curs_set(0);
    if (has_colors()) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_CYAN, -1);
        init_pair(2, COLOR_RED, -1);
    }
    return EX_OK;
}

/* --- keys --- */

static void
sort_by(struct top *t, const char *key)
{
    size_t column;

    if (!top_model_column(&t->model, key, &column))
        return;
    t->model.sort = column;
    t->model.upside_down = false;
    top_model_order(&t->model);
}

static void
sort_step(struct top *t, int step)
{
    const size_t n = t->model.column_count;

    t->model.sort = (t->model.sort + n + (size_t)step) % n;
    t->model.upside_down = false;
    top_model_order(&t->model);
}

static void
cursor_step(struct top *t, long step)
{
    size_t *place = t->place.page == TOP_DETAIL ? &t->place.scroll : &t->place.cursor;
    long at = (long)*place + step;

    *place = at > 0 ? (size_t)at : 0; /* the frame keeps it below the end */
}

static void
view_show(struct top *t, size_t view)
{
    if (view >= t->model.view_count)
        return;
    top_model_view(&t->model, view);
    t->place.cursor = t->place.first = t->place.shift = 0;
}

static void
detail_open(struct top *t)
{
    const json_t *row = json_array_get(t->model.shown, t->place.cursor);

    if (row == NULL)
        return;
    snprintf(t->place.key, sizeof(t->place.key), "%s", top_row_key(&t->model, row));
    t->place.page = TOP_DETAIL;
    t->place.scroll = 0;
}

static void
delay_change(struct top *t, bool more)
{
    t->delay_us = more ? t->delay_us * 2 : t->delay_us / 2;
    if (t->delay_us < DELAY_MIN_US)
        t->delay_us = DELAY_MIN_US;
    if (t->delay_us > DELAY_MAX_US)
        t->delay_us = DELAY_MAX_US;
}

static void
filter_key(struct top *t, int key)
{
    char *filter = t->model.filter;
    size_t n = strlen(filter);

    if (key == KEY_ESCAPE)
        filter[0] = '\0';
    else if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && n > 0)
        filter[n - 1] = '\0';
    else if (key >= ' ' && key < 127 && n + 1 < sizeof(t->model.filter))
        snprintf(filter + n, sizeof(t->model.filter) - n, "%c", key);
    if (key == KEY_ESCAPE || key == '\n' || key == '\r' || key == KEY_ENTER)
        t->place.typing = false;
    top_model_order(&t->model);
}

/* Keys that move. */
static bool
key_moves(struct top *t, int key)
{
    const long screen = LINES / 2;

    switch (key) {
    case KEY_UP:
    case 'k':
        cursor_step(t, -1);
        return true;
    case KEY_DOWN:
    case 'j':
        cursor_step(t, 1);
        return true;
    case KEY_PPAGE:
        cursor_step(t, -screen);
        return true;
    case KEY_NPAGE:
        cursor_step(t, screen);
        return true;
    case KEY_HOME:
    case 'g':
        t->place.cursor = 0;
        return true;
    case KEY_END:
    case 'G':
        cursor_step(t, (long)json_array_size(t->model.shown));
        return true;
    case KEY_LEFT:
        t->place.shift -= t->place.shift > 0;
        return true;
    case KEY_RIGHT:
        t->place.shift += t->place.shift + 2 < t->model.column_count;
        return true;
    default: /* a key is no enum */
        return false;
    }
}

static bool
key_sorts(struct top *t, int key)
{
    switch (key) {
    case '<':
        sort_step(t, -1);
        return true;
    case '>':
        sort_step(t, 1);
        return true;
    case 'r':
        t->model.upside_down = !t->model.upside_down;
        top_model_order(&t->model);
        return true;
    case 'R':
        sort_by(t, "rate");
        return true;
    case 'B':
        sort_by(t, "bytes_rate");
        return true;
    case 'N':
        sort_by(t, "nack1");
        return true;
    case 'A':
        sort_by(t, "age");
        return true;
    default:
        return false;
    }
}

static void
key_acts(struct top *t, int key)
{
    switch (key) {
    case 'q':
    case KEY_F(10):
        t->leave = true;
        break;
    case KEY_ESCAPE:
        t->place.page = TOP_TABLE;
        break;
    case 'h':
    case '?':
    case KEY_F(1):
        t->place.page = t->place.page == TOP_HELP ? TOP_TABLE : TOP_HELP;
        break;
    case '\n':
    case '\r':
    case KEY_ENTER:
        detail_open(t);
        break;
    case '/':
        t->place.typing = true;
        t->place.page = TOP_TABLE;
        break;
    case ' ':
        t->place.paused = !t->place.paused;
        break;
    case '+':
    case '-':
        delay_change(t, key == '+');
        break;
    case '\t':
        view_show(t, (t->model.view + 1) % t->model.view_count);
        break;
    default:
        if (key >= '1' && key <= '9')
            view_show(t, (size_t)(key - '1'));
    }
}

static void
key_take(struct top *t, int key)
{
    if (t->place.typing)
        filter_key(t, key);
    else if (!key_moves(t, key) && !key_sorts(t, key))
        key_acts(t, key);
}

/* --- the command --- */

static void
screen_run(struct top *t)
{
    while (!t->leave) {
        uint64_t now = clock_mono_us();
        int key;

        if (now >= t->next_us) {
            if (!t->place.paused)
                top_model_look(&t->model);
            t->next_us = now + t->delay_us;
        }
        screen_draw(t);
        timeout((int)((t->next_us - now) / 1000) + 1);
        key = getch();
        if (key != ERR && key != KEY_RESIZE)
            key_take(t, key);
        else if (key == ERR && !isatty(STDIN_FILENO))
            t->leave = true; /* the terminal has gone */
    }
    endwin();
    delscreen(t->screen);
}

static int
once_run(const struct ctl *ctl, struct top *t)
{
    const char *columns = getenv("COLUMNS");
    const struct timespec pause = {.tv_sec = (time_t)(t->delay_us / 1000000),
                                   .tv_nsec = (long)(t->delay_us % 1000000) * 1000};
    uint64_t width;

    t->place.bare = true;
    nanosleep(&pause, NULL);
    top_model_look(&t->model);
    if (t->model.away) {
        ctl_error(ctl, "%.*s", (int)strcspn(buffer_bytes(&t->model.error), "\n"),
                  buffer_bytes(&t->model.error));
        return EX_UNAVAILABLE;
    }
    if (columns == NULL || text_parse_number(columns, 20, TOP_LINE_MAX - 1, &width) < 0)
        width = ONCE_WIDTH;
    t->frame.width = (size_t)width;
    top_frame_draw(&t->frame, &t->model, &t->place);
    for (size_t i = 0; i < t->frame.count; i++)
        puts(t->frame.lines[i].text);
    return ctl_finish(ctl, EX_OK);
}

static int
view_find(const struct ctl *ctl, struct top *t, const char *name)
{
    char list[256];
    const char *names[TOP_VIEWS_MAX + 1] = {NULL};

    for (size_t i = 0; i < t->model.view_count; i++) {
        names[i] = t->model.views[i]->name;
        if (strcmp(names[i], name) == 0) {
            top_model_view(&t->model, i);
            return EX_OK;
        }
    }
    text_list(names, list, sizeof(list));
    return ctl_usage(ctl, "--view %s: expected %s", name, list);
}

/* The first look, with what was asked for. Returns EX_OK, or a status after an error message. */
static int
top_begin(const struct ctl *ctl, struct top *t, const char *view, const char *sort,
          const char *filter)
{
    int status;

    t->frame.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    top_model_look(&t->model);
    status = view_find(ctl, t, view);
    if (status != EX_OK)
        return status;
    if (sort != NULL && !top_model_column(&t->model, sort, &t->model.sort))
        return ctl_usage(ctl, "--sort %s: %s has no such column", sort, view);
    snprintf(t->model.filter, sizeof(t->model.filter), "%s", filter);
    top_model_order(&t->model);
    t->next_us = clock_mono_us() + t->delay_us;
    return EX_OK;
}

int
top_run(struct ctl *ctl, int argc, char *argv[])
{
    bool once = false;
    const char *delay = NULL, *view = "conns", *sort = NULL, *filter = "";
    const struct ctl_option options[] = {{"once", &once, NULL},
                                         {"delay", NULL, &delay},
                                         {"view", NULL, &view},
                                         {"sort", NULL, &sort},
                                         {"filter", NULL, &filter}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    struct top *t;

    if (status != CTL_GO_ON)
        return status;
    setlocale(LC_CTYPE, "");
    t = ms_calloc(1, sizeof(*t));
    t->delay_us = 1000000;
    status = EX_USAGE;
    if (delay != NULL && ctl_seconds(ctl, "delay", delay, &t->delay_us) < 0)
        goto out;
    top_model_init(&t->model, ctl);
    status = top_begin(ctl, t, view, sort, filter);
    if (status == EX_OK && once) {
        status = once_run(ctl, t);
    } else if (status == EX_OK) {
        status = screen_open(ctl, t);
        if (status == EX_OK)
            screen_run(t);
    }
    top_model_fini(&t->model);
out:
    free(t->frame.lines);
    free(t);
    return status;
}
