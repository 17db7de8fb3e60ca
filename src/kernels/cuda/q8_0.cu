// Products with weights in Q8_0: y = x Wᵀ + bias. The host's arm is `kernels/quant`.
//
// A weight [n, k] is two arrays, so that a lane loads 16 aligned bytes: quants [n, k] and binary16 scales [n, k / 32]. x is
// rounded first, by the host's rule, to quants [m, k] and float scales [m, k / 32].
#include "prelude.cuh"

// Values that share a scale.
#define SHARED_SCALE 32
#define ROUND_THREADS 128

// x as whole numbers in ±127 with a scale for each 32: one warp a scale. Where 32 values are not all finite, the scale is not
// a number, and so is every output they are part of.
KERNEL(q8_0_round, ROUND_THREADS)(
    const float *__restrict__ x, signed char *__restrict__ q, float *__restrict__ scales, unsigned count) {
  unsigned lane = threadIdx.x % WARP, at = blockIdx.x * (ROUND_THREADS / WARP) + threadIdx.x / WARP;
  if (at >= count) return;
  float value = x[(size_t)at * SHARED_SCALE + lane];
  // As bits, numbers without sign are in order, infinity above them and NaN above that: none is overlooked.
  unsigned bits = __float_as_uint(value) & 0x7fffffffu;
  for (int step = WARP / 2; step > 0; step /= 2) bits = max(bits, __shfl_xor_sync(ALL_LANES, bits, step));
  float largest = __uint_as_float(bits), by = 127.0f / largest;
  // Zeros, and numbers so small that their inverse overflows, are taken as zero.
  int kept = is_finite(largest) && is_finite(by);
  q[(size_t)at * SHARED_SCALE + lane] = kept ? (signed char)__float2int_rn(value * by) : 0;
  if (lane == 0) scales[at] = kept ? largest / 127.0f : is_finite(largest) ? 0.0f : NOT_A_NUMBER;
}

DEVICE int dot16(int4 a, int4 b) {
  return dot4(a.w, b.w, dot4(a.z, b.z, dot4(a.y, b.y, dot4(a.x, b.x, 0))));
}

// Few rows, as when generating: a warp makes one output of up to `most` rows; its lanes split k, 16 values at a time.
#define ROWS_WARPS 4
DEVICE void product_of_rows(
    const signed char *__restrict__ xq, const float *__restrict__ xs, const signed char *__restrict__ wq,
    const unsigned short *__restrict__ ws, const float *__restrict__ bias, float *__restrict__ y, unsigned m, unsigned n, unsigned k,
    const unsigned most) {
  unsigned lane = threadIdx.x % WARP, output = blockIdx.x * ROWS_WARPS + threadIdx.x / WARP;
  unsigned first = blockIdx.y * most, blocks = k / SHARED_SCALE;
  if (output >= n) return;
  const int4 *weight = (const int4 *)(wq + (size_t)output * k);
  float sums[8];
#pragma unroll
  for (unsigned r = 0; r < most; r++) sums[r] = 0.0f;
  for (unsigned at = lane; at < k / 16; at += WARP) {
    int4 codes = weight[at];
    float scale = half_to_float(ws[(size_t)output * blocks + at / 2]);
#pragma unroll
    for (unsigned r = 0; r < most; r++) {
      unsigned row = first + r;
      if (row < m) {
        int dot = dot16(codes, ((const int4 *)(xq + (size_t)row * k))[at]);
        sums[r] += scale * xs[(size_t)row * blocks + at / 2] * (float)dot;
      }
    }
  }
#pragma unroll
  for (unsigned r = 0; r < most; r++) {
    float sum = warp_sum(sums[r]);
    if (lane == 0 && first + r < m) y[(size_t)(first + r) * n + output] = sum + (bias ? bias[output] : 0.0f);
  }
}

KERNEL(q8_0_rows_1, ROWS_WARPS * WARP)(
    const signed char *__restrict__ xq, const float *__restrict__ xs, const signed char *__restrict__ wq,
    const unsigned short *__restrict__ ws, const float *__restrict__ bias, float *__restrict__ y, unsigned m, unsigned n, unsigned k) {
  product_of_rows(xq, xs, wq, ws, bias, y, m, n, k, 1);
}
KERNEL(q8_0_rows_2, ROWS_WARPS * WARP)(
    const signed char *__restrict__ xq, const float *__restrict__ xs, const signed char *__restrict__ wq,
    const unsigned short *__restrict__ ws, const float *__restrict__ bias, float *__restrict__ y, unsigned m, unsigned n, unsigned k) {
  product_of_rows(xq, xs, wq, ws, bias, y, m, n, k, 2);
}
KERNEL(q8_0_rows_4, ROWS_WARPS * WARP)(
    const signed char *__restrict__ xq, const float *__restrict__ xs, const signed char *__restrict__ wq,
    const unsigned short *__restrict__ ws, const float *__restrict__ bias, float *__restrict__ y, unsigned m, unsigned n, unsigned k) {
  product_of_rows(xq, xs, wq, ws, bias, y, m, n, k, 4);
}
KERNEL(q8_0_rows_8, ROWS_WARPS * WARP)(
    const signed char *__restrict__ xq, const float *__restrict__ xs, const signed char *__restrict__ wq,
    const unsigned short *__restrict__ ws, const float *__restrict__ bias, float *__restrict__ y, unsigned m, unsigned n, unsigned k) {
  product_of_rows(xq, xs, wq, ws, bias, y, m, n, k, 8);
}

// Many rows, as in prompts: a block makes a tile of 64 rows and 64 outputs from shared memory, a thread 4 × 4 of them.
#define TILE 64
#define TILE_THREADS 256
// Words of four quants for one scale, and one more so that threads with neighbouring outputs read from different banks.
#define WORDS (SHARED_SCALE / 4)

// 16 quants of a row go to its words; rows past the last are zeros.
DEVICE void stage(
    int tile[TILE][WORDS + 1], const signed char *__restrict__ q, unsigned slot, unsigned row, unsigned rows, size_t place) {
  int4 codes = make_int4(0, 0, 0, 0);
  if (row < rows) codes = *(const int4 *)(q + place);
  int *words = &tile[slot / 2][slot % 2 * 4];
  words[0] = codes.x, words[1] = codes.y, words[2] = codes.z, words[3] = codes.w;
}

KERNEL(q8_0_tile, TILE_THREADS)(
    const signed char *__restrict__ xq, const float *__restrict__ xs, const signed char *__restrict__ wq,
    const unsigned short *__restrict__ ws, const float *__restrict__ bias, float *__restrict__ y, unsigned m, unsigned n, unsigned k) {
  __shared__ int rows[TILE][WORDS + 1], outputs[TILE][WORDS + 1];
  __shared__ float row_scales[TILE], output_scales[TILE];
  unsigned id = threadIdx.x, blocks = k / SHARED_SCALE;
  unsigned first_row = blockIdx.y * TILE, first_output = blockIdx.x * TILE;
  unsigned across = id % 16, down = id / 16, slot = id % (2 * TILE);
  float sums[4][4];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
  for (unsigned b = 0; b < blocks; b++) {
    // Half of the threads bring x, half W; each 16 quants, and the first of a row its scale.
    if (id < 2 * TILE) {
      unsigned row = first_row + slot / 2;
      stage(rows, xq, slot, row, m, (size_t)row * k + b * SHARED_SCALE + slot % 2 * 16);
      if (slot % 2 == 0) row_scales[slot / 2] = row < m ? xs[(size_t)row * blocks + b] : 0.0f;
    } else {
      unsigned output = first_output + slot / 2;
      stage(outputs, wq, slot, output, n, (size_t)output * k + b * SHARED_SCALE + slot % 2 * 16);
      if (slot % 2 == 0) output_scales[slot / 2] = output < n ? half_to_float(ws[(size_t)output * blocks + b]) : 0.0f;
    }
    __syncthreads(); // the tile is whole
    int dots[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) dots[i][j] = 0;
#pragma unroll
    for (int word = 0; word < WORDS; word++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          dots[i][j] = dot4(rows[down + 16 * i][word], outputs[across + 16 * j][word], dots[i][j]);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        sums[i][j] += row_scales[down + 16 * i] * output_scales[across + 16 * j] * (float)dots[i][j];
    __syncthreads(); // all have read it
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      unsigned row = first_row + down + 16 * i, output = first_output + across + 16 * j;
      if (row < m && output < n) y[(size_t)row * n + output] = sums[i][j] + (bias ? bias[output] : 0.0f);
    }
}
