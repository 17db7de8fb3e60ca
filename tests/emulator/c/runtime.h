// What the parts of the emulator share. One launch runs at a time, on one thread; the Rust side holds a lock.
#ifndef RUNTIME_H
#define RUNTIME_H
#include "emulated.h"

#define MOST_THREADS 1024
#define LANES 32

enum state { READY, AT_BARRIER, AT_WARP, ENDED };
// A thread of the block that runs now.
struct fiber {
  void *stack_pointer;
  uint3 index;
  unsigned number, lane, warp;
  enum state state;
  // Where it waits, and for a warp operation what it brought.
  int line;
  enum emu_warp_operation operation;
  unsigned mask, argument;
  uint32_t value, result;
};

// The launch under way.
struct emulation {
  const struct emu_kernel *kernel;
  void **arguments;
  uint3 grid, block_size, block;
  unsigned threads;
  struct fiber *running;
  void *dynamic_shared;
  // Numbers of stretches between two barriers, never used twice: the present one, the first of this block, of this launch.
  uint32_t epoch, block_epoch, launch_epoch;
  // The same for what lies between two __syncwarp of a warp.
  uint32_t warp_epochs[MOST_THREADS / LANES];
  int failed;
  char report[512];
};
extern struct emulation emu;

// fibers.c: notes the first failure and leaves the block for good. Called on a fiber, it does not return.
void emu_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int emu_on_stack(uintptr_t address);

// memory.c
struct cell;
struct region {
  uintptr_t start, end;
  int shared;
  // What is known about each byte; null where nothing is checked.
  struct cell *cells;
  void *mapping;
  size_t mapped;
};
struct region *emu_region_of(uintptr_t address);
struct region *emu_region_before(uintptr_t address);
void emu_open_shared(size_t dynamic, int checked);
void emu_fill_shared(void);
void emu_close_shared(void);
#endif
