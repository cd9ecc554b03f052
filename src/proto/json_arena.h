/* The memory of one JSON check: jansson makes a dozen small allocations for a small document and
 * frees them one by one, which costs as much as the parsing. Inside a check they come from one block
 * and go all at once; what does not fit comes from malloc(3).
 * jansson's allocator belongs to the whole process, and so does this: for a process of our own with
 * one thread that uses jansson, never for a library. */
#ifndef PROTO_JSON_ARENA_H
#define PROTO_JSON_ARENA_H

#include <stdbool.h>

/* Makes jansson allocate through here from now on. Until json_arena_begin nothing else changes, and
 * values made before stay valid. */
void json_arena_install(void);

/* From here to json_arena_end nothing that jansson allocates may be kept. Do not nest. */
void json_arena_begin(void);

/* True where all of it came from the block: then values need no json_decref, they may be forgotten. */
bool json_arena_holds_all(void);

void json_arena_end(void);

#endif
