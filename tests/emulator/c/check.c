// Check mode. Kernels are compiled with -fsanitize=thread and not linked to its library: the calls that gcc puts before every access
// come here. An access fails where it is out of bounds, reads what nothing wrote, or meets another thread's access without a
// barrier between them, whether or not the order of this run would show it.
#include "check.h"

// The name of the argument that points to this region.
static const char *name_of(const struct region *region) {
  if (region->shared) return "shared memory";
  for (unsigned i = 0; i < emu.kernel->count; i++)
    if (emu.kernel->parameters[i].kind == EMU_POINTER && *(uintptr_t *)emu.arguments[i] == region->start)
      return emu.kernel->parameters[i].name;
  return "a buffer that is no argument";
}

static void outside(uintptr_t address, size_t bytes, const char *what) {
  struct region *before = emu_region_before(address);
  if (before) {
    size_t at = address - before->start, size = before->end - before->start;
    emu_fail("%s of %zu bytes at byte %zu of %s, which has %zu", what, bytes, at, name_of(before), size);
  } else
    emu_fail("%s of %zu bytes at %p, where no buffer is", what, bytes, (void *)address);
}

static int is_ordered(const struct fiber *me, unsigned other, uint32_t other_warp_epoch) {
  return other / LANES == me->warp && other_warp_epoch != emu.warp_epochs[me->warp];
}

static void check_byte(struct region *region, struct cell *cell, size_t at, int write) {
  struct fiber *me = emu.running;
  const char *what = write ? "write" : "read";
  uint32_t written = cell->write_epoch, read = cell->read_epoch;
  int by_this_block = written >= emu.block_epoch;
  if (!write && (region->shared ? !by_this_block : written == 0))
    emu_fail("read of byte %zu of %s, which nothing has written", at, name_of(region));
  if (!region->shared && written >= emu.launch_epoch && !by_this_block)
    emu_fail("%s of byte %zu of %s, which another block wrote in this launch", what, at, name_of(region));
  if (written == emu.epoch && cell->writer != me->number && !is_ordered(me, cell->writer, cell->write_warp_epoch))
    emu_fail("%s of byte %zu of %s, which thread %u wrote, and no barrier between them", what, at, name_of(region), cell->writer);
  if (write) {
    if (!region->shared && read >= emu.launch_epoch && read < emu.block_epoch)
      emu_fail("write of byte %zu of %s, which another block read in this launch", at, name_of(region));
    int alone = cell->readers == ONE_READER && cell->reader == me->number;
    if (read == emu.epoch && !alone && (cell->readers == MORE_WARPS || !is_ordered(me, cell->reader, cell->read_warp_epoch)))
      emu_fail("write of byte %zu of %s, which thread %u read, and no barrier between them", at, name_of(region), cell->reader);
    cell->write_epoch = emu.epoch, cell->write_warp_epoch = emu.warp_epochs[me->warp], cell->writer = me->number;
    return;
  }
  if (read != emu.epoch) cell->readers = ONE_READER;
  else if (cell->reader / LANES != me->warp) cell->readers = MORE_WARPS;
  else if (cell->reader != me->number && cell->readers == ONE_READER) cell->readers = ONE_WARP;
  cell->read_epoch = emu.epoch, cell->read_warp_epoch = emu.warp_epochs[me->warp], cell->reader = me->number;
}

static void check(uintptr_t address, size_t bytes, int write) {
  if (!emu.running || emu.failed || emu_on_stack(address)) return;
  struct region *region = emu_region_of(address);
  if (!region || address + bytes > region->end) {
    outside(address, bytes, write ? "write" : "read");
    return;
  }
  if (!region->cells) return;
  size_t at = address - region->start;
  for (size_t i = 0; i < bytes; i++) check_byte(region, &region->cells[at + i], at + i, write);
}

#define HOOKS(bytes)                                                                    \
  void __tsan_read##bytes(void *address) { check((uintptr_t)address, bytes, 0); }       \
  void __tsan_write##bytes(void *address) { check((uintptr_t)address, bytes, 1); }      \
  void __tsan_unaligned_read##bytes(void *address) { check((uintptr_t)address, bytes, 0); } \
  void __tsan_unaligned_write##bytes(void *address) { check((uintptr_t)address, bytes, 1); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void *address, unsigned long bytes) { check((uintptr_t)address, bytes, 0); }
void __tsan_write_range(void *address, unsigned long bytes) { check((uintptr_t)address, bytes, 1); }
void __tsan_init(void) {}
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}

// -fsanitize=bounds and -fsanitize=alignment, whose library is not linked either. Both begin with the place in the source.
struct place {
  const char *file;
  uint32_t line, column;
};
void __ubsan_handle_out_of_bounds(struct place *place, uintptr_t index) {
  if (emu.running) emu_fail("index %ld is out of an array's bounds at line %u", (long)index, place->line);
}
struct alignment {
  struct place place;
  void *type;
  unsigned char log_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1(struct alignment *alignment, uintptr_t address) {
  unsigned bytes = 1u << alignment->log_alignment;
  if (emu.running) emu_fail("%p is not a multiple of %u bytes at line %u", (void *)address, bytes, alignment->place.line);
}
