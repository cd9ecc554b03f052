/* msockctl top. A model (model.c) looks at the msockd and keeps what the screen needs of earlier
 * looks; a frame (frame.c) is what the screen shows, as text of a given size; the command
 * (cmd_top.c) reads keys and puts frames on a terminal. So one frame can be printed without one. */
#ifndef MSOCKCTL_TOP_TOP_H
#define MSOCKCTL_TOP_TOP_H

#include "msockctl/ctl.h"

#define TOP_HISTORY   600 /* looks */
#define TOP_VIEWS_MAX 8
#define TOP_COLUMNS   64
#define TOP_TEXT_MAX  64

enum top_graph { TOP_MESSAGES, TOP_BYTES, TOP_LATENCY, TOP_GRAPHS };

struct top_model {
    struct ctl ctl;      /* its errors go to error */
    struct buffer error; /* what the last look could not see */
    bool away;           /* it saw no msockd at all */
    const struct ctl_command *views[TOP_VIEWS_MAX];
    size_t view_count, view; /* of these, the one that is shown */

    struct snapshot now, before;
    bool known, rated; /* now is there; before too, of the same run */
    double history[TOP_GRAPHS][TOP_HISTORY];
    size_t history_count; /* looks ever; the newest stands at (history_count - 1) % TOP_HISTORY */

    json_t *rows;        /* of the view, as its command has them, with "rate" and "bytes_rate" */
    json_t *shown;       /* of these, those that the filter leaves, in order */
    json_t *rows_before; /* the same of the look before, by key: {KEY: row} */
    uint64_t rows_us, before_us; /* when they were taken */
    struct column columns[TOP_COLUMNS];
    size_t column_count;
    size_t sort; /* a column */
    bool upside_down;
    char filter[TOP_TEXT_MAX];
};

void top_model_init(struct top_model *m, const struct ctl *ctl);
void top_model_fini(struct top_model *m);

/* Shows this view, in its own order, and looks at its rows. Once before the first look too. */
void top_model_view(struct top_model *m, size_t view);

/* Looks again. Where there is no msockd, what was seen last stays, and error says why. */
void top_model_look(struct top_model *m);

/* Sorts and filters what was seen anew: sort, upside_down or filter has changed. */
void top_model_order(struct top_model *m);

/* The column with that key. False where there is none. */
bool top_model_column(const struct top_model *m, const char *key, size_t *column_out);

/* The row with that key; NULL where there is none any more. */
json_t *top_model_row(const struct top_model *m, const char *key);
const char *top_row_key(const struct top_model *m, const json_t *row);

/* --- frame.c --- */

enum top_style { TOP_PLAIN, TOP_STRONG, TOP_GRAPH, TOP_TITLE, TOP_CURSOR, TOP_WRONG, TOP_FAINT };

#define TOP_LINE_MAX 1024

struct top_line {
    enum top_style style;
    char
        text[TOP_LINE_MAX]; /* UTF-8, of columns of one cell each; nothing from outside but ASCII */
};

struct top_frame {
    size_t width, height; /* wanted */
    bool unicode;
    size_t count, cap;      /* lines that are there, that there is memory for */
    struct top_line *lines; /* heap */
};

enum top_page { TOP_TABLE, TOP_DETAIL, TOP_HELP };

/* Where somebody is on the screen. */
struct top_place {
    enum top_page page;
    size_t cursor, first;     /* rows: the chosen one, the first on the screen */
    size_t shift;             /* columns that are out of sight on the left */
    char key[TABLE_CELL_MAX]; /* of the row that TOP_DETAIL shows */
    size_t scroll;            /* lines of it that are out of sight above */
    bool typing, paused;      /* a filter is being typed; no looks */
    bool bare;                /* all rows, no cursor, no keys: for --once */
};

/* Draws anew; moves place where the rows have become fewer. */
void top_frame_draw(struct top_frame *f, const struct top_model *m, struct top_place *place);

#endif
