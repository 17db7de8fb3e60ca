// Root-mean-square normalisation; the host's arm is `kernels/norm.rs`.
#include "prelude.cuh"

// y = x / sqrt(mean(x^2) + eps) * w for x and y [rows, width] and w [width]. A block of whole warps a row.
// A row whose sum of squares is not finite comes out as not a number, as on the host.
KERNEL(rms_norm, 1024)(
    const float *__restrict__ x, const float *__restrict__ w, float *__restrict__ y, unsigned width, float eps) {
  __shared__ float sums[WARP];
  unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const float *row = x + (size_t)blockIdx.x * width;
  float *out = y + (size_t)blockIdx.x * width;
  // Rows begin on 16 bytes where the width is a multiple of four; else every number is loaded alone.
  unsigned quads = width % 4 == 0 ? width / 4 : 0;
  float sum = 0.0f;
  for (unsigned i = threadIdx.x; i < quads; i += blockDim.x) {
    float4 v = ((const float4 *)row)[i];
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  for (unsigned i = quads * 4 + threadIdx.x; i < width; i += blockDim.x) sum += row[i] * row[i];
  sum = warp_sum(sum);
  if (lane == 0) sums[warp] = sum;
  __syncthreads();
  // Each warp adds the warps' sums for itself, which saves a second barrier.
  sum = warp_sum(lane < blockDim.x / WARP ? sums[lane] : 0.0f);
  float scale = is_finite(sum) ? 1.0f / sqrtf(sum / (float)width + eps) : NOT_A_NUMBER;
  for (unsigned i = threadIdx.x; i < quads; i += blockDim.x) {
    float4 v = ((const float4 *)row)[i], g = ((const float4 *)w)[i];
    ((float4 *)out)[i] = make_float4(v.x * scale * g.x, v.y * scale * g.y, v.z * scale * g.z, v.w * scale * g.w);
  }
  for (unsigned i = quads * 4 + threadIdx.x; i < width; i += blockDim.x) out[i] = row[i] * scale * w[i];
}
