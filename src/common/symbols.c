/* Symbols are looked for in the files, not in the loaded parts: only there are those of static
 * functions. Every offset in a file is checked, since a file may be anything. */
#include "common/symbols.h"

#include "common/fd.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OBJECTS_MAX 64

struct object {
    uintptr_t base, end; /* of the loaded parts */
    char name[32];
    const ElfW(Sym) * symbols; /* in the mapped file; NULL: none */
    size_t symbol_count;
    const char *strings;
    size_t strings_len; /* the last byte is 0 */
};

static struct {
    struct object objects[OBJECTS_MAX];
    size_t count;
} symbols_known;

/* --- a file --- */

static const void *
file_map(const char *path, size_t *len_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    void *map = MAP_FAILED;
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        *len_out = (size_t)st.st_size;
        map = mmap(NULL, *len_out, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    fd_close(&fd);
    return map != MAP_FAILED ? map : NULL;
}

static bool
file_has(size_t file_len, uint64_t at, uint64_t len)
{
    return at <= file_len && len <= file_len - at;
}

/* The section of the symbols; that of all of them is the best. */
static const ElfW(Shdr) * file_symbols(const ElfW(Shdr) * sections, unsigned count)
{
    const ElfW(Shdr) *found = NULL;

    for (unsigned i = 0; i < count; i++)
        if (sections[i].sh_type == SHT_SYMTAB ||
            (sections[i].sh_type == SHT_DYNSYM && found == NULL))
            found = &sections[i];
    return found;
}

/* False where there are none. */
static bool
object_read(struct object *o, const char *file, size_t len)
{
    const ElfW(Ehdr) *head = (const void *)file;
    const ElfW(Shdr) * sections, *symbols, *strings;

    if (len < sizeof(*head) || memcmp(file, ELFMAG, SELFMAG) != 0 ||
        head->e_shentsize != sizeof(*sections) || head->e_shoff % 8 != 0 ||
        !file_has(len, head->e_shoff, (uint64_t)head->e_shnum * sizeof(*sections)))
        return false;
    sections = (const void *)(file + head->e_shoff);
    symbols = file_symbols(sections, head->e_shnum);
    if (symbols == NULL || symbols->sh_link >= head->e_shnum || symbols->sh_offset % 8 != 0 ||
        !file_has(len, symbols->sh_offset, symbols->sh_size))
        return false;
    strings = &sections[symbols->sh_link];
    if (!file_has(len, strings->sh_offset, strings->sh_size) || strings->sh_size == 0 ||
        file[strings->sh_offset + strings->sh_size - 1] != '\0')
        return false;
    o->symbols = (const void *)(file + symbols->sh_offset);
    o->symbol_count = symbols->sh_size / sizeof(o->symbols[0]);
    o->strings = file + strings->sh_offset;
    o->strings_len = strings->sh_size;
    return true;
}

/* --- what is loaded --- */

static const struct object *
object_at(uintptr_t address)
{
    for (size_t i = 0; i < symbols_known.count; i++)
        if (address >= symbols_known.objects[i].base && address < symbols_known.objects[i].end)
            return &symbols_known.objects[i];
    return NULL;
}

/* The program itself has no name here. */
static void
object_name(struct object *o, const char *path)
{
    char program[256] = "";
    const char *name;

    if (path[0] == '\0' && readlink("/proc/self/exe", program, sizeof(program) - 1) > 0)
        path = program;
    name = strrchr(path, '/');
    name = name != NULL ? name + 1 : path;
    snprintf(o->name, sizeof(o->name), "%.31s", name);
}

static int
object_add(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct object o = {.base = (uintptr_t)info->dlpi_addr};
    const char *path = info->dlpi_name;
    const void *file;
    size_t len;

    (void)size;
    (void)arg;
    for (unsigned i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD &&
            o.base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz > o.end)
            o.end = o.base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
    if (symbols_known.count == OBJECTS_MAX || o.end == 0 || object_at(o.end - 1) != NULL)
        return 0;
    object_name(&o, path);
    file = file_map(path[0] == '\0' ? "/proc/self/exe" : path, &len);
    if (file != NULL && !object_read(&o, file, len))
        munmap((void *)(uintptr_t)file, len);
    symbols_known.objects[symbols_known.count++] = o;
    return 0;
}

void
symbols_load(void)
{
    (void)dl_iterate_phdr(object_add, NULL);
}

/* --- in a signal handler --- */

static const ElfW(Sym) * object_find(const struct object *o, uint64_t at)
{
    const ElfW(Sym) *found = NULL;

    for (size_t i = 0; i < o->symbol_count; i++) {
        const ElfW(Sym) *s = &o->symbols[i];

        if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && s->st_shndx != SHN_UNDEF &&
            s->st_value <= at && s->st_name < o->strings_len &&
            (found == NULL || s->st_value > found->st_value))
            found = s;
    }
    /* Some functions, written in assembler, have no size. */
    return found != NULL && (found->st_size == 0 || at - found->st_value < found->st_size) ? found
                                                                                           : NULL;
}

struct symbol
symbols_find(const void *address)
{
    const struct object *o = object_at((uintptr_t)address);
    struct symbol out = {.module = "", .function = "", .at = (uintptr_t)address};
    const ElfW(Sym) * found;

    if (o == NULL)
        return out;
    out.module = o->name;
    out.at = (uintptr_t)address - o->base;
    found = object_find(o, out.at);
    if (found != NULL) {
        out.function = o->strings + found->st_name;
        out.offset = out.at - found->st_value;
    }
    return out;
}
