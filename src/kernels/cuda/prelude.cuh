// What every kernel file begins with. The language is the C subset of CUDA C, without the toolkit's headers: NVRTC makes PTX of
// it, and tests compile the same text with gcc, where `emulated.h` gives what is CUDA's own.
#ifdef EMULATED
#include "emulated.h"
#else
// A kernel that is launched by its name, with blocks of so many threads at most.
#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name
#define DEVICE static __device__ __forceinline__

// The value of a binary16.
DEVICE float half_to_float(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

// sum + Σ a·b over the four bytes of each, with signs.
DEVICE int dot4(int a, int b, int sum) {
  int result;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
  return result;
}
#endif

#define WARP 32
#define ALL_LANES 0xffffffffu
#define NOT_A_NUMBER __int_as_float(0x7fc00000)

// The value of a bfloat16: the upper half of the float.
DEVICE float bf16_to_float(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }

DEVICE int is_finite(float value) { return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u; }

// The sum over a warp's lanes, the same bits in each. All lanes have to come.
DEVICE float warp_sum(float value) {
  for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
  return value;
}
