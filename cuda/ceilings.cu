#include "cuda/ceilings.h"

#include <algorithm>
#include <array>

#include <cuda_bf16.h>

#include "cuda/kernels.h"

namespace statescope::cuda {
namespace {

__global__ void hold(std::uint64_t nanoseconds) {
  std::uint64_t start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < nanoseconds);
}

constexpr int kChains = 16;  // independent sums a thread: more than the unit's latency needs

__global__ void __launch_bounds__(256) multiply_add(float* sink, float a, float b, int iterations) {
  float x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = static_cast<float>(threadIdx.x + i);
  for (int n = 0; n < iterations; ++n) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) x[i] = x[i] * a + b;
  }
  float sum = 0;
  for (int i = 0; i < kChains; ++i) sum += x[i];
  if (sum == 1.25e-30f) *sink = sum;  // never, and the compiler cannot know
}

// One iteration of a warpgroup of 128 threads: a 64 x 256 tile times kSteps slices of 16, from shared memory.
constexpr int kSteps = 4, kTileRows = 64, kTileColumns = 256, kSlice = 16;
constexpr double kFlopIteration = 2.0 * kTileRows * kTileColumns * kSlice * kSteps;
constexpr int kMatrixThreads = 256;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/// Core matrices of 8 x 8 without swizzle: 128 bytes each, two along K, then the next 8 rows.
__device__ inline std::uint64_t descriptor(const void* at) {
  const std::uint64_t address = __cvta_generic_to_shared(at);
  constexpr std::uint64_t kAlongK = 128, kAlongRows = 256;
  return (address & 0x3ffff) >> 4 | (kAlongK >> 4) << 16 | (kAlongRows >> 4) << 32;
}

__device__ inline void product(float (&acc)[128], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, 1, 1, 1, 0, 0;"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]), "+f"(acc[4]), "+f"(acc[5]), "+f"(acc[6]),
        "+f"(acc[7]), "+f"(acc[8]), "+f"(acc[9]), "+f"(acc[10]), "+f"(acc[11]), "+f"(acc[12]), "+f"(acc[13]),
        "+f"(acc[14]), "+f"(acc[15]), "+f"(acc[16]), "+f"(acc[17]), "+f"(acc[18]), "+f"(acc[19]),
        "+f"(acc[20]), "+f"(acc[21]), "+f"(acc[22]), "+f"(acc[23]), "+f"(acc[24]), "+f"(acc[25]),
        "+f"(acc[26]), "+f"(acc[27]), "+f"(acc[28]), "+f"(acc[29]), "+f"(acc[30]), "+f"(acc[31]),
        "+f"(acc[32]), "+f"(acc[33]), "+f"(acc[34]), "+f"(acc[35]), "+f"(acc[36]), "+f"(acc[37]),
        "+f"(acc[38]), "+f"(acc[39]), "+f"(acc[40]), "+f"(acc[41]), "+f"(acc[42]), "+f"(acc[43]),
        "+f"(acc[44]), "+f"(acc[45]), "+f"(acc[46]), "+f"(acc[47]), "+f"(acc[48]), "+f"(acc[49]),
        "+f"(acc[50]), "+f"(acc[51]), "+f"(acc[52]), "+f"(acc[53]), "+f"(acc[54]), "+f"(acc[55]),
        "+f"(acc[56]), "+f"(acc[57]), "+f"(acc[58]), "+f"(acc[59]), "+f"(acc[60]), "+f"(acc[61]),
        "+f"(acc[62]), "+f"(acc[63]), "+f"(acc[64]), "+f"(acc[65]), "+f"(acc[66]), "+f"(acc[67]),
        "+f"(acc[68]), "+f"(acc[69]), "+f"(acc[70]), "+f"(acc[71]), "+f"(acc[72]), "+f"(acc[73]),
        "+f"(acc[74]), "+f"(acc[75]), "+f"(acc[76]), "+f"(acc[77]), "+f"(acc[78]), "+f"(acc[79]),
        "+f"(acc[80]), "+f"(acc[81]), "+f"(acc[82]), "+f"(acc[83]), "+f"(acc[84]), "+f"(acc[85]),
        "+f"(acc[86]), "+f"(acc[87]), "+f"(acc[88]), "+f"(acc[89]), "+f"(acc[90]), "+f"(acc[91]),
        "+f"(acc[92]), "+f"(acc[93]), "+f"(acc[94]), "+f"(acc[95]), "+f"(acc[96]), "+f"(acc[97]),
        "+f"(acc[98]), "+f"(acc[99]), "+f"(acc[100]), "+f"(acc[101]), "+f"(acc[102]), "+f"(acc[103]),
        "+f"(acc[104]), "+f"(acc[105]), "+f"(acc[106]), "+f"(acc[107]), "+f"(acc[108]), "+f"(acc[109]),
        "+f"(acc[110]), "+f"(acc[111]), "+f"(acc[112]), "+f"(acc[113]), "+f"(acc[114]), "+f"(acc[115]),
        "+f"(acc[116]), "+f"(acc[117]), "+f"(acc[118]), "+f"(acc[119]), "+f"(acc[120]), "+f"(acc[121]),
        "+f"(acc[122]), "+f"(acc[123]), "+f"(acc[124]), "+f"(acc[125]), "+f"(acc[126]), "+f"(acc[127])
      : "l"(a), "l"(b));
}
#endif

__global__ void __launch_bounds__(kMatrixThreads) matrix(float* sink, int iterations) {
  __shared__ __align__(128) __nv_bfloat16 rows[kSteps][kTileRows * kSlice];
  __shared__ __align__(128) __nv_bfloat16 columns[kSteps][kTileColumns * kSlice];
  // Random values: zeros would let the clock rise.
  std::uint32_t random = blockIdx.x * kMatrixThreads + threadIdx.x + 1;
  const auto next = [&] {
    random = random * 1664525u + 1013904223u;
    return __float2bfloat16(static_cast<float>(static_cast<std::int32_t>(random)) * 0x1p-31f);
  };
  for (int i = threadIdx.x; i < kSteps * kTileRows * kSlice; i += kMatrixThreads) rows[0][i] = next();
  for (int i = threadIdx.x; i < kSteps * kTileColumns * kSlice; i += kMatrixThreads) columns[0][i] = next();
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
  __syncthreads();
  float acc[128] = {};
  for (int n = 0; n < iterations; ++n) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    for (int step = 0; step < kSteps; ++step) product(acc, descriptor(rows[step]), descriptor(columns[step]));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#else
    // A warp's 16 of the 64 rows; operands read once a slice, as fragments of 32-bit pairs.
    const std::uint32_t* a = reinterpret_cast<const std::uint32_t*>(rows[n % kSteps]) + threadIdx.x % 32 * 4;
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int tile = 0; tile < kTileColumns / 8; ++tile) {
        const std::uint32_t* b =
            reinterpret_cast<const std::uint32_t*>(columns[step]) + (tile * 32 + threadIdx.x % 32) * 2;
        float* c = acc + tile * 4;
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
            "%9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
      }
    }
#endif
  }
  float sum = 0;
  for (float x : acc) sum += x;
  if (sum == 1.25e-30f) *sink = sum;
}

/// Seconds of one run: the best of a few, after a warm-up, as a ceiling wants.
template <typename Enqueue>
double seconds(Enqueue enqueue) {
  constexpr int kRuns = 5;
  std::array<cudaEvent_t, kRuns + 1> events;
  for (cudaEvent_t& event : events) check(cudaEventCreate(&event), "creating an event");
  enqueue();
  for (int run = 0; run <= kRuns; ++run) {
    check(cudaEventRecord(events[run], nullptr), "recording an event");
    if (run < kRuns) enqueue();
  }
  check(cudaGetLastError(), "launching a ceiling kernel");
  check(cudaEventSynchronize(events[kRuns]), "measuring ceilings");
  float best = 1e30f;
  for (int run = 0; run < kRuns; ++run) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events[run], events[run + 1]), "reading an event");
    best = std::min(best, milliseconds);
  }
  for (cudaEvent_t event : events) cudaEventDestroy(event);
  return best * 1e-3;
}

}  // namespace

void enqueue_hold(cudaStream_t stream, std::uint64_t nanoseconds) {
  hold<<<1, 1, 0, stream>>>(nanoseconds);
  check(cudaGetLastError(), "launching hold");
}

Ceilings measure_ceilings(int multiprocessors) {
  Ceilings result;
  // Much more than any L2, but no more than an eighth of what is free.
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  const std::size_t bytes = std::min<std::size_t>(free / 8, std::size_t{1} << 30) / 4096 * 4096;
  float4 *from = nullptr, *to = nullptr;
  check(cudaMalloc(&from, bytes), "allocating the copy's source");
  if (const cudaError_t status = cudaMalloc(&to, bytes); status != cudaSuccess) {
    cudaFree(from);
    check(status, "allocating the copy's target");
  }
  check(cudaMemset(from, 0x3c, bytes), "filling the copy's source");
  result.copy_bytes_per_second =
      2.0 * static_cast<double>(bytes) / seconds([&] {
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice), "copying on the device");
      });

  float* sink = reinterpret_cast<float*>(to);
  constexpr int kBlocks = 8, kIterations = 20000;
  result.f32_flop_per_second =
      2.0 * kChains * kIterations * 256.0 * kBlocks * multiprocessors /
      seconds([&] { multiply_add<<<multiprocessors * kBlocks, 256>>>(sink, 0.999f, 0.5f, kIterations); });
  result.matrix_flop_per_second =
      kFlopIteration * (kMatrixThreads / 128) * kIterations * multiprocessors /
      seconds([&] { matrix<<<multiprocessors, kMatrixThreads>>>(sink, kIterations); });
  cudaFree(from);
  cudaFree(to);
  return result;
}

}  // namespace statescope::cuda
