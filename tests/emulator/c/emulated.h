// What CUDA C has beside C, for kernels compiled by gcc: each thread of a block runs on a fiber of its own (fibers.c).
// Only what the kernels use. A name that is missing here fails to compile, which is better than one that means something else.
#ifndef EMULATED_H
#define EMULATED_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KERNEL(name, threads) static void name
#define DEVICE static inline __attribute__((unused, always_inline))
// All shared arrays lie in one section, which is filled with garbage before each block.
#define __shared__ static __attribute__((section("emulated_shared")))
// The launch's dynamic shared memory.
#define DYNAMIC_SHARED(type, name) type *name = (type *)emu_dynamic_shared()

typedef struct {
  unsigned x, y, z;
} uint3;
typedef struct __attribute__((aligned(16))) {
  float x, y, z, w;
} float4;
typedef struct __attribute__((aligned(16))) {
  int x, y, z, w;
} int4;
DEVICE float4 make_float4(float x, float y, float z, float w) { return (float4){x, y, z, w}; }
DEVICE int4 make_int4(int x, int y, int z, int w) { return (int4){x, y, z, w}; }

// The same for the whole life of a fiber, hence `const`.
uint3 emu_thread_index(void) __attribute__((const));
uint3 emu_block_index(void) __attribute__((const));
uint3 emu_block_size(void) __attribute__((const));
uint3 emu_grid_size(void) __attribute__((const));
void *emu_dynamic_shared(void) __attribute__((const));
#define threadIdx emu_thread_index()
#define blockIdx emu_block_index()
#define blockDim emu_block_size()
#define gridDim emu_grid_size()

void emu_barrier(int line);
#define __syncthreads() emu_barrier(__LINE__)

enum emu_warp_operation { EMU_SYNC, EMU_FROM, EMU_UP, EMU_DOWN, EMU_XOR };
uint32_t emu_warp(enum emu_warp_operation operation, unsigned mask, uint32_t value, unsigned argument, int line);
#define __syncwarp() ((void)emu_warp(EMU_SYNC, 0xffffffffu, 0, 0, __LINE__))
#define EMU_SHUFFLE(type, suffix)                                                                                       \
  DEVICE type emu_shuffle_##suffix(enum emu_warp_operation operation, unsigned mask, type value, unsigned argument, int line) { \
    uint32_t bits;                                                                                                      \
    memcpy(&bits, &value, 4);                                                                                           \
    bits = emu_warp(operation, mask, bits, argument, line);                                                             \
    memcpy(&value, &bits, 4);                                                                                           \
    return value;                                                                                                       \
  }
EMU_SHUFFLE(float, float)
EMU_SHUFFLE(int, int)
EMU_SHUFFLE(unsigned, unsigned)
#define EMU_SHUFFLE_OF(operation, mask, value, argument)                                                   \
  _Generic((value), float: emu_shuffle_float, int: emu_shuffle_int, unsigned: emu_shuffle_unsigned)(       \
      operation, mask, value, argument, __LINE__)
#define __shfl_sync(mask, value, lane) EMU_SHUFFLE_OF(EMU_FROM, mask, value, lane)
#define __shfl_up_sync(mask, value, by) EMU_SHUFFLE_OF(EMU_UP, mask, value, by)
#define __shfl_down_sync(mask, value, by) EMU_SHUFFLE_OF(EMU_DOWN, mask, value, by)
#define __shfl_xor_sync(mask, value, by) EMU_SHUFFLE_OF(EMU_XOR, mask, value, by)

#define min(a, b) ({ __typeof__((a) + (b)) a_ = (a), b_ = (b); a_ < b_ ? a_ : b_; })
#define max(a, b) ({ __typeof__((a) + (b)) a_ = (a), b_ = (b); a_ > b_ ? a_ : b_; })

DEVICE float __uint_as_float(unsigned bits) { float value; memcpy(&value, &bits, 4); return value; }
DEVICE float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }
DEVICE unsigned __float_as_uint(float value) { unsigned bits; memcpy(&bits, &value, 4); return bits; }
// To the nearest, ties to even; NaN is 0, and what is too large the largest, as on the device.
DEVICE int __float2int_rn(float value) {
  if (value != value) return 0;
  if (value >= 0x1p31f) return INT32_MAX;
  if (value < -0x1p31f) return INT32_MIN;
  return (int)rintf(value);
}

// What the kernels' prelude writes in PTX.
DEVICE int dot4(int a, int b, int sum) {
  for (int at = 0; at < 32; at += 8) sum += (int)(int8_t)(a >> at) * (int)(int8_t)(b >> at);
  return sum;
}
DEVICE float half_to_float(unsigned short bits) {
  unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
  float small = (float)mantissa * 0x1p-24f;
  return sign ? -small : small;
}

// The tables that the build script writes behind each file of kernels.
enum emu_kind { EMU_POINTER, EMU_UNSIGNED, EMU_FLOAT };
struct emu_parameter {
  const char *name;
  enum emu_kind kind;
};
struct emu_kernel {
  const char *name;
  // Calls the kernel with the values at these addresses.
  void (*enter)(void **arguments);
  unsigned most_threads, count;
  const struct emu_parameter *parameters;
};
#endif
