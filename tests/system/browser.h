/* A page in a real browser: Chromium, driven by its DevTools protocol over a pair of pipes. */
#ifndef SYSTEM_BROWSER_H
#define SYSTEM_BROWSER_H

#include "harness.h"
#include "run.h"

#include <jansson.h>

struct browser {
    struct running run;
    int to, from; /* pipes */
    char profile[HARNESS_PATH_LEN];
    char session[64];
    int calls;  /* so far */
    char *have; /* bytes of a message that is not whole */
    size_t have_len;
    unsigned width; /* as browser_look has it */
    bool dark;
    unsigned errors; /* of scripts and on the console; each was printed */
};

/* Skips the test where there is no Chromium. */
void browser_need(void);

void browser_start(struct browser *b);
void browser_stop(struct browser *b);

/* Opens a page and waits until it is loaded. */
void browser_open(struct browser *b, const char *url);

/* The value of a JavaScript expression as JSON; a new reference. Ends the test where it throws. */
json_t *browser_value(struct browser *b, const char *expression);

/* Is it true? For WAIT_FOR. */
bool browser_true(struct browser *b, const char *expression);

/* A key of the keyboard, by its DOM name: "/", "Tab", "Enter", "ArrowRight"; and a text that is
 * typed. */
void browser_key(struct browser *b, const char *key);
void browser_type(struct browser *b, const char *text);

/* The size of the window, and whether the system is dark. */
void browser_look(struct browser *b, unsigned width, unsigned height, bool dark);

/* Writes the whole page as it looks to DIR/NAME.png where $PAGE_SHOTS is DIR; else nothing. */
void browser_shot(struct browser *b, const char *name);

#endif
