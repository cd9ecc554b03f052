/* The memory of one JSON check: see the header. */
#include "proto/json_arena.h"

#include "common/base.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

#define ARENA_SIZE  65536u
#define ARENA_ALIGN 16u

static struct {
    char *block; /* NULL: not installed */
    size_t used;
    bool active;
    bool overflowed; /* something of this check came from malloc */
} arena;

static void *
json_arena_alloc(size_t n)
{
    char *p;

    if (!arena.active)
        return malloc(n);
    if (n > ARENA_SIZE - arena.used) {
        arena.overflowed = true;
        return malloc(n);
    }
    p = arena.block + arena.used;
    arena.used += (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    return p;
}

static void
json_arena_free(void *p)
{
    if ((uintptr_t)p - (uintptr_t)arena.block >= ARENA_SIZE)
        free(p);
}

void
json_arena_install(void)
{
    if (arena.block != NULL)
        return;
    arena.block = ms_malloc(ARENA_SIZE);
    json_set_alloc_funcs(json_arena_alloc, json_arena_free);
}

void
json_arena_begin(void)
{
    MS_ASSERT(!arena.active);
    arena.used = 0;
    arena.overflowed = false;
    arena.active = arena.block != NULL;
}

bool
json_arena_holds_all(void)
{
    return arena.active && !arena.overflowed;
}

void
json_arena_end(void)
{
    arena.active = false;
}
