// Kernels that are wrong on purpose, or use what no kernel of the product uses yet: they test the emulator itself.
#include "prelude.cuh"

KERNEL(probe_uneven_barrier, 64)(unsigned some) {
  if (threadIdx.x < some) __syncthreads();
}

KERNEL(probe_two_barriers, 64)(unsigned some) {
  if (threadIdx.x < some) __syncthreads();
  else __syncthreads();
}

KERNEL(probe_shuffle_of_some, 64)(float *__restrict__ y, unsigned some) {
  float value = (float)threadIdx.x;
  if (threadIdx.x % WARP < some) value = __shfl_xor_sync(ALL_LANES, value, 1);
  y[threadIdx.x] = value;
}

KERNEL(probe_shuffle_out_of_mask, 64)(float *__restrict__ y) {
  float value = (float)threadIdx.x;
  if (threadIdx.x % WARP < 16) value = __shfl_down_sync(0x0000ffffu, value, 1);
  y[threadIdx.x] = value;
}

// Every kind of shuffle, each into its own part of y [4, threads].
KERNEL(probe_shuffles, 64)(float *__restrict__ y) {
  unsigned id = threadIdx.x, size = blockDim.x;
  y[id] = __shfl_sync(ALL_LANES, (float)id, 5);
  y[size + id] = __shfl_up_sync(ALL_LANES, (float)id, 3);
  y[2 * size + id] = __shfl_down_sync(ALL_LANES, (float)id, 3);
  y[3 * size + id] = __shfl_xor_sync(ALL_LANES, (float)id, 3);
}

// Neighbours exchange through the launch's dynamic shared memory, with a warp's own barrier or without one.
KERNEL(probe_exchange, 64)(float *__restrict__ y, unsigned ordered) {
  DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x] = (float)threadIdx.x;
  if (ordered) __syncwarp();
  y[threadIdx.x] = shared[threadIdx.x ^ 1];
}

// The same with the neighbouring warp, for which a warp's own barrier is too little.
KERNEL(probe_exchange_of_warps, 64)(float *__restrict__ y) {
  DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x] = (float)threadIdx.x;
  __syncwarp();
  y[threadIdx.x] = shared[threadIdx.x ^ WARP];
}

// All blocks write the first number.
KERNEL(probe_blocks_meet, 64)(float *__restrict__ y) {
  if (threadIdx.x == 0) y[0] = (float)blockIdx.x;
}

// A block reads what the one before it writes.
KERNEL(probe_blocks_follow, 64)(float *__restrict__ y) {
  if (threadIdx.x != 0) return;
  y[blockIdx.x] = blockIdx.x == 0 ? 1.0f : y[blockIdx.x - 1];
}

KERNEL(probe_copy, 64)(const float *__restrict__ x, float *__restrict__ y, unsigned count) {
  unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at < count) y[at] = x[at];
}

KERNEL(probe_index, 64)(float *__restrict__ y, unsigned at) {
  __shared__ float few[8];
  few[at] = 1.0f;
  y[0] = few[at];
}
