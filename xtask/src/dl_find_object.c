/* The unwinder of Debian's gcc asks glibc where the unwind tables of an address are. musl has no such function; this is it,
   over what musl has. Linked into static programs by `cargo xtask dist`. */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>

/* As glibc's dlfcn.h lays it out on 64-bit machines without a data base register for unwinding. */
struct dl_find_object {
  unsigned long long flags;
  void *map_start;
  void *map_end;
  struct link_map *link_map;
  void *eh_frame;
  unsigned long long reserved[7];
};

struct search {
  unsigned long address;
  struct dl_find_object *found;
};

static int look(struct dl_phdr_info *info, size_t size, void *data) {
  struct search *search = data;
  unsigned long tables = 0;
  int inside = 0;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    unsigned long start = info->dlpi_addr + part->p_vaddr;
    if (part->p_type == PT_LOAD && search->address - start < part->p_memsz) {
      inside = 1;
      search->found->map_start = (void *)start;
      search->found->map_end = (void *)(start + part->p_memsz);
    } else if (part->p_type == PT_GNU_EH_FRAME) {
      tables = start;
    }
  }
  if (!inside || !tables) return 0;
  search->found->eh_frame = (void *)tables;
  return 1;
}

int _dl_find_object(void *address, struct dl_find_object *found) {
  struct search search = {(unsigned long)address, found};
  *found = (struct dl_find_object){0};
  return dl_iterate_phdr(look, &search) == 1 ? 0 : -1;
}
