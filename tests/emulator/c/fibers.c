// Blocks one after another, and the threads of a block as fibers of one thread of the processor. A fiber runs until it waits: at a
// barrier for its block, at a warp operation for the lanes of its mask. Who runs next is chosen by a seeded order.
#include "runtime.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK (64 << 10)
#define GUARD 4096

struct emulation emu;
static struct fiber fibers[MOST_THREADS];
static char *stacks;
static void *scheduler;

enum order { FORWARD, BACKWARD, RANDOM, RUSH };
static enum order order;
static uint64_t random_state;
// Fibers that can run, by number.
static unsigned ready[MOST_THREADS], ready_count, last_warp;

// void switch_fiber(void **save, void *to): keeps what a called function must keep, and goes on where `to` was left.
__asm__(".text\n"
        ".type switch_fiber, @function\n"
        "switch_fiber:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n"
        ".size switch_fiber, .-switch_fiber\n");
void switch_fiber(void **save, void *to) __attribute__((visibility("hidden")));
#define KEPT_REGISTERS 6

static void wait_for_turn(void) { switch_fiber(&emu.running->stack_pointer, scheduler); }

static void note(const char *format, va_list values) {
  if (emu.failed) return;
  emu.failed = 1;
  int used = snprintf(emu.report, sizeof emu.report, "block (%u, %u, %u)", emu.block.x, emu.block.y, emu.block.z);
  if (emu.running) {
    uint3 at = emu.running->index;
    used += snprintf(emu.report + used, sizeof emu.report - used, ", thread (%u, %u, %u)", at.x, at.y, at.z);
  }
  used += snprintf(emu.report + used, sizeof emu.report - used, ": ");
  vsnprintf(emu.report + used, sizeof emu.report - used, format, values);
}

void emu_fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  note(format, values);
  va_end(values);
  if (emu.running) wait_for_turn();
}

int emu_on_stack(uintptr_t address) {
  return address >= (uintptr_t)stacks && address < (uintptr_t)stacks + (size_t)MOST_THREADS * STACK;
}

uint3 emu_thread_index(void) { return emu.running->index; }
uint3 emu_block_index(void) { return emu.block; }
uint3 emu_block_size(void) { return emu.block_size; }
uint3 emu_grid_size(void) { return emu.grid; }
void *emu_dynamic_shared(void) { return emu.dynamic_shared; }

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static void make_ready(struct fiber *fiber) {
  fiber->state = READY;
  ready[ready_count++] = fiber->number;
}

static struct fiber *take_next(void) {
  unsigned at = 0;
  if (order == BACKWARD) at = ready_count - 1;
  if (order == RANDOM || order == RUSH) at = next_random() % ready_count;
  if (order == RUSH)
    for (unsigned tried = 0; tried < ready_count; tried++)
      if (fibers[ready[(at + tried) % ready_count]].warp == last_warp) {
        at = (at + tried) % ready_count;
        break;
      }
  struct fiber *next = &fibers[ready[at]];
  memmove(&ready[at], &ready[at + 1], (--ready_count - at) * sizeof ready[0]);
  last_warp = next->warp;
  return next;
}

static void run_fiber(void) {
  emu.kernel->enter(emu.arguments);
  emu.running->state = ENDED;
  wait_for_turn();
}

// A failure that no fiber but the scheduler sees, reported as one of them.
static void report_stuck(struct fiber *fiber, const char *format, ...) {
  va_list values;
  va_start(values, format);
  emu.running = fiber;
  note(format, values);
  emu.running = 0;
  va_end(values);
}

// All threads wait: together at one barrier, or for what never comes.
static void end_barrier(void) {
  struct fiber *first = 0, *ended = 0;
  for (unsigned i = 0; i < emu.threads; i++) {
    struct fiber *fiber = &fibers[i];
    if (fiber->state == ENDED) ended = fiber;
    if (fiber->state == AT_WARP)
      report_stuck(fiber, "waits in a warp operation at line %d for lanes of mask %08x that do not come", fiber->line, fiber->mask);
    if (fiber->state != AT_BARRIER) continue;
    if (!first) first = fiber;
    if (first->line != fiber->line)
      report_stuck(fiber, "waits at the barrier of line %d, thread %u at that of line %d", fiber->line, first->number, first->line);
  }
  if (first && ended) report_stuck(first, "waits at the barrier of line %d, and thread %u has ended", first->line, ended->number);
  if (emu.failed) return;
  emu.epoch++;
  for (unsigned i = 0; i < emu.threads; i++) make_ready(&fibers[i]);
}

static void run_block(void) {
  ready_count = 0;
  emu.block_epoch = ++emu.epoch;
  emu_fill_shared();
  for (unsigned i = 0; i < emu.threads; i++) {
    struct fiber *fiber = &fibers[i];
    uint3 size = emu.block_size;
    *fiber = (struct fiber){.number = i, .lane = i % LANES, .warp = i / LANES};
    fiber->index = (uint3){i % size.x, i / size.x % size.y, i / size.x / size.y};
    // As if it had called switch_fiber from the first instruction of run_fiber, with the stack as a call leaves it.
    void **top = (void **)(stacks + (size_t)(i + 1) * STACK) - 2;
    *top = (void *)run_fiber;
    top -= KEPT_REGISTERS;
    memset(top, 0, KEPT_REGISTERS * sizeof *top);
    fiber->stack_pointer = top;
    make_ready(fiber);
  }
  for (;;) {
    if (ready_count == 0) {
      unsigned ended = 0;
      for (unsigned i = 0; i < emu.threads; i++) ended += fibers[i].state == ENDED;
      if (ended == emu.threads) return;
      end_barrier();
    }
    if (emu.failed) break;
    emu.running = take_next();
    switch_fiber(&scheduler, emu.running->stack_pointer);
    emu.running = 0;
    if (emu.failed) break;
  }
  emu.running = 0;
}

void emu_barrier(int line) {
  emu.running->state = AT_BARRIER;
  emu.running->line = line;
  wait_for_turn();
}

// The lane whose value this one gets; itself at the ends of the warp.
static unsigned source_of(const struct fiber *fiber) {
  unsigned lane = fiber->lane, by = fiber->argument;
  switch (fiber->operation) {
  case EMU_FROM: return by % LANES;
  case EMU_UP: return by <= lane ? lane - by : lane;
  case EMU_DOWN: return lane + by < LANES ? lane + by : lane;
  case EMU_XOR: return (lane ^ by) % LANES;
  default: return lane;
  }
}

uint32_t emu_warp(enum emu_warp_operation operation, unsigned mask, uint32_t value, unsigned argument, int line) {
  struct fiber *me = emu.running, *warp = &fibers[me->warp * LANES];
  me->state = AT_WARP, me->line = line, me->operation = operation;
  me->mask = mask, me->value = value, me->argument = argument;
  if (!(mask >> me->lane & 1)) emu_fail("is not in the mask %08x of its warp operation at line %d", mask, line);
  for (unsigned lane = 0; lane < LANES; lane++) {
    struct fiber *other = &warp[lane];
    if (!(mask >> lane & 1)) continue;
    if (other->state == ENDED) emu_fail("names lane %u in a warp operation at line %d, which has ended", lane, line);
    if (other->state != AT_WARP) {
      // The last lane to come answers all.
      wait_for_turn();
      return me->result;
    }
    if (other->mask != mask || other->line != line || other->operation != operation)
      emu_fail("is in a warp operation at line %d, lane %u in another at line %d", line, lane, other->line);
  }
  for (unsigned lane = 0; lane < LANES; lane++) {
    if (!(mask >> lane & 1)) continue;
    unsigned source = source_of(&warp[lane]);
    if (!(mask >> source & 1))
      emu_fail("gives lane %u the value of lane %u, which is not in the mask %08x of line %d", lane, source, mask, line);
    warp[lane].result = warp[source].value;
  }
  // A shuffle orders no memory; only __syncwarp does, and is counted where it joins the whole warp.
  if (operation == EMU_SYNC && mask == 0xffffffffu) emu.warp_epochs[me->warp]++;
  for (unsigned lane = 0; lane < LANES; lane++)
    if ((mask >> lane & 1) && &warp[lane] != me) make_ready(&warp[lane]);
  me->state = READY;
  return me->result;
}

static void reserve_stacks(void) {
  if (stacks) return;
  size_t bytes = (size_t)MOST_THREADS * STACK;
  stacks = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) abort();
  for (unsigned i = 0; i < MOST_THREADS; i++) mprotect(stacks + (size_t)i * STACK, GUARD, PROT_NONE);
}

// 0, or 1 and what was wrong in `report`. Sizes have been checked.
int emu_launch(const struct emu_kernel *kernel, const unsigned grid[3], const unsigned block[3], size_t dynamic, void **arguments,
               int checked, int chosen, uint64_t seed, const char **report) {
  reserve_stacks();
  emu.kernel = kernel, emu.arguments = arguments, emu.failed = 0, emu.running = 0;
  emu.grid = (uint3){grid[0], grid[1], grid[2]}, emu.block_size = (uint3){block[0], block[1], block[2]};
  emu.threads = block[0] * block[1] * block[2];
  order = (enum order)chosen, random_state = seed * 0x9e3779b97f4a7c15u | 1;
  // 0 stands for a byte that nothing ever wrote, 1 for one that the host did.
  if (emu.epoch < 2) emu.epoch = 2;
  emu.launch_epoch = emu.epoch + 1;
  emu_open_shared(dynamic, checked);
  uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
  uint64_t first = order == RANDOM || order == RUSH ? next_random() % blocks : 0;
  for (uint64_t i = 0; i < blocks && !emu.failed; i++) {
    uint64_t at = order == BACKWARD ? blocks - 1 - i : (first + i) % blocks;
    emu.block = (uint3){at % grid[0], at / grid[0] % grid[1], at / grid[0] / grid[1]};
    run_block();
  }
  emu_close_shared();
  *report = emu.report;
  return emu.failed;
}
