// What low-rank adapters add to a batch: y[rows] += scale · (x[rows] Aᵀ) Bᵀ for segments of rows, each at its own rank. The host's
// arm is `kernels/segmented`. Two launches for all segments: the narrow sums first, then what they add.
#include "prelude.cuh"

// Rows of a tile at most: one segment's, next to each other.
#define TILE_ROWS 8
// A part of a segment. Its factors lie in the slab, from these bytes on: A [rank, inputs], and B transposed, [rank, outputs]; both
// float where `wide`, else bfloat16. A tile of rank 0 is empty.
typedef struct {
  unsigned long long a, b;
  unsigned row, rows, rank, wide;
  float scale;
  unsigned unused;
} tile_t;

DEVICE float factor(const unsigned char *__restrict__ factors, unsigned wide, size_t at) {
  return wide ? ((const float *)factors)[at] : bf16_to_float(((const unsigned short *)factors)[at]);
}

#define SHRINK_WARPS 8
#define CHUNK (SHRINK_WARPS * WARP)

// hidden[row][r] = scale · Σ x[row][i] A[r][i], hidden [rows of the batch, max_rank]. Grid (tiles, ranks / 8): a warp takes one row
// of A for all rows of the tile, whose x is staged a chunk at a time.
KERNEL(lowrank_shrink, CHUNK)(
    const float *__restrict__ x, const unsigned char *__restrict__ slab, const tile_t *__restrict__ tiles,
    float *__restrict__ hidden, unsigned inputs, unsigned max_rank) {
  __shared__ float chunk[TILE_ROWS][CHUNK];
  tile_t tile = tiles[blockIdx.x];
  unsigned lane = threadIdx.x % WARP, r = blockIdx.y * SHRINK_WARPS + threadIdx.x / WARP;
  if (blockIdx.y * SHRINK_WARPS >= tile.rank) return; // the whole block
  float sums[TILE_ROWS];
#pragma unroll
  for (unsigned row = 0; row < TILE_ROWS; row++) sums[row] = 0.0f;
  for (unsigned from = 0; from < inputs; from += CHUNK) {
    unsigned here = min((unsigned)CHUNK, inputs - from);
    for (unsigned row = 0; row < tile.rows; row++)
      if (threadIdx.x < here) chunk[row][threadIdx.x] = x[(size_t)(tile.row + row) * inputs + from + threadIdx.x];
    __syncthreads(); // the chunk is whole
    if (r < tile.rank)
      for (unsigned i = lane; i < here; i += WARP) {
        float a = factor(slab + tile.a, tile.wide, (size_t)r * inputs + from + i);
#pragma unroll
        for (unsigned row = 0; row < TILE_ROWS; row++)
          if (row < tile.rows) sums[row] += chunk[row][i] * a;
      }
    __syncthreads(); // all have read it
  }
  if (r >= tile.rank) return; // the whole warp
#pragma unroll
  for (unsigned row = 0; row < TILE_ROWS; row++) {
    float sum = warp_sum(sums[row]);
    if (lane == 0 && row < tile.rows) hidden[(size_t)(tile.row + row) * max_rank + r] = tile.scale * sum;
  }
}

#define EXPAND_THREADS 128
#define RANKS 64

// y[row][column] += Σ hidden[row][r] Bᵀ[r][column]. Grid (tiles, columns / 128): a thread takes one column for all rows of the tile,
// whose hidden sums are staged 64 at a time.
KERNEL(lowrank_expand, EXPAND_THREADS)(
    const float *__restrict__ hidden, const unsigned char *__restrict__ slab, const tile_t *__restrict__ tiles,
    float *__restrict__ y, unsigned outputs, unsigned max_rank) {
  __shared__ float chunk[TILE_ROWS][RANKS];
  tile_t tile = tiles[blockIdx.x];
  unsigned column = blockIdx.y * EXPAND_THREADS + threadIdx.x;
  float sums[TILE_ROWS];
#pragma unroll
  for (unsigned row = 0; row < TILE_ROWS; row++) sums[row] = 0.0f;
  for (unsigned from = 0; from < tile.rank; from += RANKS) {
    unsigned here = min((unsigned)RANKS, tile.rank - from);
    for (unsigned i = threadIdx.x; i < tile.rows * here; i += EXPAND_THREADS)
      chunk[i / here][i % here] = hidden[(size_t)(tile.row + i / here) * max_rank + from + i % here];
    __syncthreads(); // the chunk is whole
    if (column < outputs)
      for (unsigned r = 0; r < here; r++) {
        float b = factor(slab + tile.b, tile.wide, (size_t)(from + r) * outputs + column);
#pragma unroll
        for (unsigned row = 0; row < TILE_ROWS; row++)
          if (row < tile.rows) sums[row] += chunk[row][r] * b;
      }
    __syncthreads(); // all have read it
  }
  if (column >= outputs) return;
#pragma unroll
  for (unsigned row = 0; row < TILE_ROWS; row++)
    if (row < tile.rows) y[(size_t)(tile.row + row) * outputs + column] += sums[row];
}
