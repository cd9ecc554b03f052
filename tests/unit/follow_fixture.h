/* What the tests of follow and retain share: segments that are written by hand. */
#ifndef TESTS_UNIT_FOLLOW_FIXTURE_H
#define TESTS_UNIT_FOLLOW_FIXTURE_H

#include "handler_fixture.h"

#include "handler/journal/follow.h"

#define SEGMENT_A "journal/01ARYZ6S410000000000000000-w0.ndjson"
#define SEGMENT_B "journal/01ARYZ6S420000000000000000-w1.ndjson"
#define SEGMENT_C "journal/01ARYZ6S430000000000000000-w0.ndjson"

/* The id with that number. */
const char *follow_id(unsigned number);

/* Appends a record; key "file" or "blob": its body is in that path beneath files/ or blobs/. */
void follow_add(struct fixture *f, struct buffer *lines, unsigned number, const char *key,
                const char *name, const char *body);

/* Appends the lines to a segment, which is made, and empties them. mode 0: that stays. */
void follow_write(struct fixture *f, const char *segment, struct buffer *lines, mode_t mode);

/* The next record, waited for: its item, which must have that number. */
struct follow_item *follow_expect(struct follow *f, unsigned number);

/* Nothing is told, also when it has looked at all again. */
void follow_expect_none(struct follow *f);

/* Tells, and is done with, all records of these numbers, and then there is none. */
void follow_expect_all(struct follow *f, unsigned from, unsigned to);

#endif
