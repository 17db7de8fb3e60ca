// Device memory: each buffer is a mapping of its own that ends where an inaccessible page begins, and all are known by address.
#include "check.h"
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096
#define MOST_REGIONS 4096

extern char __start_emulated_shared[] __attribute__((visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((visibility("hidden")));

// In the order of their addresses.
static struct region regions[MOST_REGIONS];
static unsigned count;
static uintptr_t dynamic_start;

// Regions that begin at this address or before it.
static unsigned up_to(uintptr_t address) {
  unsigned low = 0, high = count;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    if (regions[middle].start <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

struct region *emu_region_before(uintptr_t address) {
  unsigned at = up_to(address);
  return at ? &regions[at - 1] : 0;
}

struct region *emu_region_of(uintptr_t address) {
  struct region *region = emu_region_before(address);
  return region && address < region->end ? region : 0;
}

static void *map(size_t bytes) {
  void *mapping = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return mapping == MAP_FAILED ? 0 : mapping;
}

static void enter(struct region region, int checked) {
  if (count == MOST_REGIONS) abort();
  if (checked && !(region.cells = map((region.end - region.start) * sizeof(struct cell)))) abort();
  unsigned at = up_to(region.start);
  memmove(&regions[at + 1], &regions[at], (count++ - at) * sizeof region);
  regions[at] = region;
}

static void leave(struct region *region) {
  if (region->cells) munmap(region->cells, (region->end - region->start) * sizeof(struct cell));
  if (region->mapping) munmap(region->mapping, region->mapped);
  unsigned at = region - regions;
  memmove(region, region + 1, (--count - at) * sizeof *region);
}

// A buffer of garbage, aligned to 16 bytes; null where the system has no memory.
static void *reserve(size_t bytes, int shared, int checked) {
  size_t body = (bytes + PAGE - 1) / PAGE * PAGE, mapped = body + PAGE;
  char *mapping = map(mapped);
  if (!mapping) return 0;
  mprotect(mapping + body, PAGE, PROT_NONE);
  // Not a number in any float type.
  memset(mapping, 0xff, body);
  char *start = mapping + body - (bytes + 15) / 16 * 16;
  struct region region = {.start = (uintptr_t)start, .end = (uintptr_t)start + bytes, .shared = shared};
  region.mapping = mapping, region.mapped = mapped;
  enter(region, checked);
  return start;
}

void *emu_alloc(size_t bytes, int checked) { return reserve(bytes, 0, checked); }

void emu_free(void *start) {
  struct region *region = emu_region_of((uintptr_t)start);
  if (region && region->start == (uintptr_t)start) leave(region);
}

void emu_upload(void *to, const void *from, size_t bytes) {
  memcpy(to, from, bytes);
  struct region *region = emu_region_of((uintptr_t)to);
  if (!region || !region->cells) return;
  struct cell *cells = &region->cells[(uintptr_t)to - region->start];
  for (size_t i = 0; i < bytes; i++) cells[i] = (struct cell){.write_epoch = WRITTEN_BY_HOST};
}

void emu_open_shared(size_t dynamic, int checked) {
  uintptr_t start = (uintptr_t)__start_emulated_shared, end = (uintptr_t)__stop_emulated_shared;
  if (start < end) enter((struct region){.start = start, .end = end, .shared = 1}, checked);
  emu.dynamic_shared = dynamic ? reserve(dynamic, 1, checked) : 0;
  dynamic_start = (uintptr_t)emu.dynamic_shared;
}

// As on a device, where a block finds what others left.
void emu_fill_shared(void) {
  memset(__start_emulated_shared, 0xff, __stop_emulated_shared - __start_emulated_shared);
  struct region *dynamic = dynamic_start ? emu_region_of(dynamic_start) : 0;
  if (dynamic) memset((void *)dynamic->start, 0xff, dynamic->end - dynamic->start);
}

void emu_close_shared(void) {
  struct region *region = emu_region_of((uintptr_t)__start_emulated_shared);
  if (region) leave(region);
  if (dynamic_start) emu_free((void *)dynamic_start);
  dynamic_start = 0;
}
