// Check mode: what is known about each byte of device memory.
#ifndef CHECK_H
#define CHECK_H
#include "runtime.h"

// The epoch of what the host wrote; 0 is that of a byte that nothing ever wrote.
#define WRITTEN_BY_HOST 1

// Several threads read a byte in one epoch: of one warp, or of more than one.
enum { ONE_READER, ONE_WARP, MORE_WARPS };

// The last write of a byte and the last reads, each with the stretch between barriers it happened in.
struct cell {
  uint32_t write_epoch, write_warp_epoch;
  uint32_t read_epoch, read_warp_epoch;
  uint16_t writer, reader;
  uint8_t readers;
};
#endif
