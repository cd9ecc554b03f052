/* One frame: who runs, graphs, a table, keys. Every line fits the width; names that came from
 * outside were escaped by the table. */
#include "top.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define GRAPH_LABEL 26

/* The next line, empty; it stays where it is until the one after it. */
static struct top_line *
frame_line(struct top_frame *f, enum top_style style)
{
    struct top_line *line;

    if (f->count == f->cap) {
        f->cap = f->cap * 2 + 64;
        f->lines = realloc(f->lines, f->cap * sizeof(f->lines[0]));
        MS_ASSERT(f->lines != NULL);
    }
    line = &f->lines[f->count++];
    line->style = style;
    line->text[0] = '\0';
    return line;
}

/* How many bytes of UTF-8 the first so many characters have. */
static size_t
utf8_prefix(const char *text, size_t characters)
{
    size_t n = 0;

    while (text[n] != '\0' && characters > 0) {
        n++;
        while (((unsigned char)text[n] & 0xc0) == 0x80)
            n++;
        characters--;
    }
    return n;
}

static void
    MS_PRINTF(3, 4) frame_say(struct top_frame *f, enum top_style style, const char *fmt, ...)
{
    struct top_line *line = frame_line(f, style);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line->text, sizeof(line->text), fmt, ap);
    va_end(ap);
    line->text[utf8_prefix(line->text, f->width)] = '\0';
}

/* --- the head --- */

static void
head_draw(struct top_frame *f, const struct top_model *m)
{
    const struct snapshot *s = &m->now;
    char version[128], age[UNIT_LEN];
    unsigned ready = snapshot_ready(s);

    if (!m->known) {
        frame_say(f, TOP_WRONG, "no msockd is seen in %s", m->ctl.dir);
        return;
    }
    text_escape(s->version, strlen(s->version), version, sizeof(version));
    unit_age(s->taken_us > s->started_us ? s->taken_us - s->started_us : 0, age);
    if (s->alive == SNAPSHOT_DEAD || m->away)
        frame_say(f, TOP_WRONG, "msockd %s  pid %d  not running: these are its last numbers",
                  version, s->pid);
    else
        frame_say(f, ready < s->workers_wanted ? TOP_WRONG : TOP_STRONG,
                  "msockd %s  pid %d  up %s  generation %" PRIu64 "  workers %u/%u  open %" PRIu64,
                  version, s->pid, age, s->generation, ready, s->workers_wanted, s->total.open);
}

static const char *
graph_bar(bool unicode, unsigned eighths)
{
    static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};

    return unicode ? bars[eighths] : plain[eighths];
}

/* The newest look stands on the right. */
static void
graph_draw(struct top_frame *f, const struct top_model *m, enum top_graph graph, const char *label)
{
    const double *history = m->history[graph];
    const size_t have = m->history_count < TOP_HISTORY ? m->history_count : TOP_HISTORY;
    const size_t room = f->width > GRAPH_LABEL ? f->width - GRAPH_LABEL : 0;
    struct top_line *line = frame_line(f, TOP_GRAPH);
    size_t len =
        (size_t)snprintf(line->text, sizeof(line->text), "%-*.*s", GRAPH_LABEL, GRAPH_LABEL, label);
    double most = 1;

    for (size_t i = 0; i < have && i < room; i++)
        if (history[(m->history_count - 1 - i) % TOP_HISTORY] > most)
            most = history[(m->history_count - 1 - i) % TOP_HISTORY];
    for (size_t i = room; i > 0 && len + 4 < sizeof(line->text); i--) {
        double share = i <= have ? history[(m->history_count - i) % TOP_HISTORY] / most * 8 : 0;
        unsigned eighths = (unsigned)(share + 0.5);

        if (share > 0 && eighths == 0)
            eighths = 1;
        len += (size_t)snprintf(line->text + len, sizeof(line->text) - len, "%s",
                                graph_bar(f->unicode, eighths));
    }
    line->text[utf8_prefix(line->text, f->width)] = '\0';
}

static double
history_last(const struct top_model *m, enum top_graph graph)
{
    return m->history_count > 0 ? m->history[graph][(m->history_count - 1) % TOP_HISTORY] : 0;
}

static void
graphs_draw(struct top_frame *f, const struct top_model *m)
{
    char label[64], unit[UNIT_LEN];

    snprintf(label, sizeof(label), "messages  %.1f/s", history_last(m, TOP_MESSAGES));
    graph_draw(f, m, TOP_MESSAGES, label);
    snprintf(label, sizeof(label), "received  %s/s", text_bytes(history_last(m, TOP_BYTES), unit));
    graph_draw(f, m, TOP_BYTES, label);
    snprintf(label, sizeof(label), "p99       %s",
             unit_duration((uint64_t)history_last(m, TOP_LATENCY), unit));
    graph_draw(f, m, TOP_LATENCY, label);
}

static void
totals_draw(struct top_frame *f, const struct top_model *m)
{
    const struct stats_counts *c = &m->now.total.counts;

    frame_say(f, TOP_PLAIN,
              "messages %" PRIu64 "  acks %" PRIu64 "  nack1 %" PRIu64 "  nack2 %" PRIu64
              "  rej %" PRIu64 "  err %" PRIu64 "  duplicates %" PRIu64,
              c->messages, c->acks, c->nack1, c->nack2, c->rej, c->err, c->duplicates);
    frame_say(f, TOP_PLAIN,
              "commits %" PRIu64 " of %.1f messages  accepted %" PRIu64 "  refused %" PRIu64
              "  cut %" PRIu64 "  lost %" PRIu64,
              c->commits, c->commits > 0 ? (double)c->committed / (double)c->commits : 0,
              c->accepted, c->refused, c->cut, c->lost);
}

/* --- the table --- */

static void
tabs_draw(struct top_frame *f, const struct top_model *m, const struct top_place *place)
{
    char text[TOP_LINE_MAX];
    size_t len = 0;

    for (size_t i = 0; i < m->view_count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                i == m->view ? "[%zu %s] " : " %zu %s  ", i + 1, m->views[i]->name);
    if (place->typing || m->filter[0] != '\0')
        snprintf(text + len, sizeof(text) - len, " /%s%s", m->filter, place->typing ? "_" : "");
    frame_say(f, TOP_STRONG, "%s%s", text, place->paused ? "  paused" : "");
}

/* As wide as the widest cell on the screen, so that the columns move seldom. */
static size_t
column_width(const struct top_model *m, size_t column, size_t first, size_t count)
{
    char cell[TABLE_CELL_MAX];
    size_t width = strlen(table_title(&m->columns[column], cell)) + (column == m->sort), len;

    for (size_t i = first; i < first + count && i < json_array_size(m->shown); i++) {
        len = table_cell(json_array_get(m->shown, i), &m->columns[column], cell);
        width = len > width ? len : width;
    }
    return width;
}

/* A row, or with NULL the titles. The first column stays where others are shifted away. */
static void
row_draw(struct top_frame *f, const struct top_model *m, const size_t widths[TOP_COLUMNS],
         size_t shift, const json_t *row, enum top_style style)
{
    struct top_line *line = frame_line(f, style);
    char cell[TABLE_CELL_MAX], title[TABLE_CELL_MAX + 1];
    size_t len = 0;

    for (size_t k = 0; k < m->column_count && len < f->width && len + 1 < sizeof(line->text); k++) {
        const struct column *column = &m->columns[k];
        const char *text = cell;

        if (k > 0 && k <= shift)
            continue;
        if (row != NULL)
            (void)table_cell(row, column, cell);
        else
            snprintf(title, sizeof(title), "%s%s", table_title(column, cell),
                     k != m->sort     ? ""
                     : m->upside_down ? "^"
                                      : "v");
        text = row != NULL ? cell : title;
        len += (size_t)snprintf(line->text + len, sizeof(line->text) - len, "%*s  ",
                                table_is_left(column) ? -(int)widths[k] : (int)widths[k], text);
    }
    if (len >= sizeof(line->text))
        len = sizeof(line->text) - 1;
    for (; len < f->width && len + 1 < sizeof(line->text); len++)
        line->text[len] = ' ';
    line->text[f->width < len ? f->width : len] = '\0';
}

static void
place_bound(struct top_place *place, size_t rows, size_t room)
{
    if (place->cursor >= rows)
        place->cursor = rows > 0 ? rows - 1 : 0;
    if (place->first > place->cursor)
        place->first = place->cursor;
    if (place->cursor >= place->first + room)
        place->first = place->cursor - room + 1;
}

static void
table_draw(struct top_frame *f, const struct top_model *m, struct top_place *place)
{
    const size_t rows = json_array_size(m->shown);
    const size_t used = f->count + 2;
    const size_t room = place->bare ? rows : f->height > used + 1 ? f->height - used : 1;
    size_t widths[TOP_COLUMNS];

    place_bound(place, rows, room);
    for (size_t k = 0; k < m->column_count; k++)
        widths[k] = column_width(m, k, place->first, room);
    row_draw(f, m, widths, place->shift, NULL, TOP_TITLE);
    for (size_t i = place->first; i < rows && i < place->first + room; i++)
        row_draw(f, m, widths, place->shift, json_array_get(m->shown, i),
                 i == place->cursor && !place->bare ? TOP_CURSOR : TOP_PLAIN);
    if (rows == 0)
        frame_say(f, TOP_FAINT, m->filter[0] != '\0' ? "no row has \"%s\"" : "nothing%s",
                  m->filter);
}

/* --- other pages --- */

/* Every member of a row, with what is in an object beneath it. */
static void
members_draw(struct top_frame *f, const json_t *object, const char *before)
{
    char name[128], text[TOP_LINE_MAX], *dump;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        snprintf(name, sizeof(name), "%s%s", before, key);
        if (json_is_object(value)) {
            snprintf(name, sizeof(name), "%s%s ", before, key);
            members_draw(f, value, name);
            continue;
        }
        dump = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
        text_escape(dump, strlen(dump), text, sizeof(text));
        free(dump);
        frame_say(f, TOP_PLAIN, "  %-22s %s", name, text);
    }
}

/* Takes the lines from `top` on that are out of sight above away. */
static void
lines_scroll(struct top_frame *f, size_t top, struct top_place *place)
{
    const size_t room = f->height > top + 1 ? f->height - top - 1 : 1;
    const size_t more = f->count > top + room ? f->count - top - room : 0;

    if (place->scroll > more)
        place->scroll = more;
    f->count -= place->scroll;
    memmove(&f->lines[top], &f->lines[top + place->scroll], (f->count - top) * sizeof(f->lines[0]));
}

static void
detail_draw(struct top_frame *f, const struct top_model *m, struct top_place *place)
{
    size_t top;

    const json_t *row = top_model_row(m, place->key);
    char key[TABLE_CELL_MAX];

    text_escape(place->key, strlen(place->key), key, sizeof(key));
    frame_say(f, TOP_TITLE, "%s %s", m->views[m->view]->name, key);
    top = f->count;
    if (row == NULL)
        frame_say(f, TOP_WRONG, "it is gone");
    else
        members_draw(f, row, "");
    lines_scroll(f, top, place);
}

static void
help_draw(struct top_frame *f)
{
    static const char *const lines[] = {
        "up down j k      choose a row          enter        all about it, live",
        "page up, down    a screen of rows      home end     first, last row",
        "left right       hide columns          1-9 tab      another table",
        "< >              sort by the column on the left, on the right",
        "r                turn the order around",
        "R B N A          sort by rate, bytes a second, NACKs, age",
        "/                filter: enter keeps it, escape takes it away",
        "space            pause                 + -          look less, more often",
        "h ?              this page             q            leave",
    };

    frame_say(f, TOP_TITLE, "keys");
    for (size_t i = 0; i < MS_ARRAY_LEN(lines); i++)
        frame_say(f, TOP_PLAIN, "  %s", lines[i]);
}

static void
foot_draw(struct top_frame *f, const struct top_place *place)
{
    if (f->count >= f->height)
        f->count = f->height - 1;
    while (f->count + 1 < f->height)
        (void)frame_line(f, TOP_PLAIN);
    frame_say(
        f, TOP_FAINT, "%s",
        place->typing ? "type what a row must have; enter keeps it, escape drops it"
        : place->page != TOP_TABLE
            ? "escape goes back   up down scroll   q quit"
            : "q quit 1-9 table < > sort r reverse / filter enter details space pause h help");
}

static void
error_draw(struct top_frame *f, const struct top_model *m)
{
    char text[TOP_LINE_MAX];

    if (m->error.len == 0)
        return;
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(buffer_bytes(&m->error), "\n"),
             buffer_bytes(&m->error));
    frame_say(f, TOP_WRONG, "%s", text);
}

void
top_frame_draw(struct top_frame *f, const struct top_model *m, struct top_place *place)
{
    f->count = 0;
    if (f->width >= TOP_LINE_MAX)
        f->width = TOP_LINE_MAX - 1;
    head_draw(f, m);
    graphs_draw(f, m);
    totals_draw(f, m);
    error_draw(f, m);
    switch (place->page) {
    case TOP_TABLE:
        tabs_draw(f, m, place);
        table_draw(f, m, place);
        break;
    case TOP_DETAIL:
        detail_draw(f, m, place);
        break;
    case TOP_HELP:
        help_draw(f);
        break;
    }
    if (!place->bare)
        foot_draw(f, place);
}
