#pragma once
// gla, the last pass, every chunk of every head at once:
//   O = sum_e [(scale Q e^gamma) S + P V]                      forward
//   dV = sum_e [(K e^(gamma_C - gamma)) D + P^T dO]            backward
// One text for both: rows that pass 1 has decayed times a state, and scores times rows of v or do. A block is
// a chunk of a head and up to 128 columns of V; it walks the subheads in order and keeps the sum, transposed,
// in registers, 16 columns a warp. So a part of the state is one warp's alone and passes no other's hands.
#include "cuda/multipass/gla_tiles.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, int kValue, bool kBackward>
__global__ void __launch_bounds__(gla_output_threads(kValue), kValue < 128 ? 4 : 2)
    gla_outputs(const __grid_constant__ GlaParameters p) {
  constexpr int kTile = value_tile(kValue), kTiles = kValue / kTile, kThreads = gla_output_threads(kValue),
                kSlab = gla_output_slab(kKey), kSlabs = kKey / kSlab;
  constexpr uint32_t kStage = rows_bytes(kSlab) + kSquareBytes, kPart = kSlab * 16 * 2;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int tile = blockIdx.x % kTiles, h = blockIdx.x / kTiles % a.heads;
  const int64_t number = blockIdx.x / kTiles / a.heads;
  const Chunk chunk = chunk_of(a, number);
  if (chunk.count == 0) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = tile * kTile + 16 * warp;
  const uint32_t base = ptx::shared_address(shared);
  const uint32_t values = base + 2 * kStage, own = values + rows_bytes(kTile) + warp * kPart;
  const uint16_t *const rows = kBackward ? p.s.keys : p.s.queries, *const states =
                                                                       kBackward ? p.s.gradients : p.s.states;
  // Steps: for each subhead its slabs of channels, the scores with the last.
  const auto fetch = [&](int step) {
    const int s = step % kSlabs;
    const int64_t index = (number * a.heads + h) * a.expansion + step / kSlabs;
    const uint32_t stage = base + step % 2 * kStage;
    copy_rows<kSlab, kChunk, kThreads>(stage, rows + index * kChunk * kKey + s * kSlab, kKey, kChunk);
    if (s == kSlabs - 1)
      copy_rows<kChunk, kChunk, kThreads>(stage + rows_bytes(kSlab), p.s.scores + index * kChunk * kChunk,
                                          kChunk, kChunk);
#pragma unroll
    for (int j = 0; j < kSlab / 16; ++j)
      ptx::copy_or_zero(own + (j * 32 + lane) * 16,
                        states + gla_fragment<kKey, kValue>(index, s * kSlab + 16 * j, column) + lane * 8,
                        true);
    ptx::copies_commit();
  };
  copy_rows<kTile, kChunk, kThreads>(
      values, words(kBackward ? a.d_o : a.v) + (chunk.first * a.heads + h) * kValue + tile * kTile,
      int64_t{a.heads} * kValue, chunk.count);
  fetch(0);

  const Lane at(lane);
  float x[8][4] = {};  // columns of V by tokens
  const int steps = a.expansion * kSlabs;
  for (int step = 0; step < steps; ++step) {
    ptx::copies_wait<0>();
    __syncthreads();  // everyone has this step's tiles and is done with those of the one before
    uint32_t state[kSlab / 16][4];
#pragma unroll
    for (int j = 0; j < kSlab / 16; ++j) {
      const uint4 y = ptx::load_shared_uint4(own + (j * 32 + lane) * 16);
      state[j][0] = y.x, state[j][1] = y.y, state[j][2] = y.z, state[j][3] = y.w;
    }
    __syncwarp();  // all lanes have theirs
    if (step + 1 < steps) fetch(step + 1);
    const uint32_t row = base + step % 2 * kStage, score = row + rows_bytes(kSlab);
#pragma unroll
    for (int j = 0; j < kSlab / 16; ++j) {
      const uint32_t turned[4] = {ptx::transpose_8x8(state[j][0]), ptx::transpose_8x8(state[j][2]),
                                  ptx::transpose_8x8(state[j][1]), ptx::transpose_8x8(state[j][3])};
#pragma unroll
      for (int n = 0; n < kChunk; n += 16) {
        uint32_t y[4];
        load_b(y, row + j / 4 * (kChunk * 128), at, j % 4 * 16, n);
        multiply<T>(x[n / 8], x[n / 8 + 1], turned, y);
      }
    }
    if (step % kSlabs < kSlabs - 1) continue;
#pragma unroll
    for (int k = 0; k < kChunk; k += 16) {
      uint32_t v[4];
      load_a_turned(v, values + warp / 4 * (kChunk * 128), at, warp % 4 * 16, k);
#pragma unroll
      for (int n = 0; n < kChunk; n += 16) {
        if (kBackward ? n > k : n < k) continue;  // P is lower triangular
        uint32_t y[4];
        if (kBackward)
          load_b_turned(y, score, at, k, n);
        else
          load_b(y, score, at, k, n);
        multiply<T>(x[n / 8], x[n / 8 + 1], v, y);
      }
    }
  }

  // Rows of tokens leave by way of the state's place.
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    uint32_t y[4];
    as_a<T>(y, x[2 * b], x[2 * b + 1]);
#pragma unroll
    for (int i = 0; i < 4; ++i)  // columns 8 (i % 2), tokens 8 (i / 2)
      ptx::store_shared(own + (16 * b + 8 * (i / 2) + at.r) * 32 + 16 * (i % 2) + 2 * at.c,
                        ptx::transpose_8x8(y[i]));
  }
  __syncwarp();
  uint16_t* const out = static_cast<uint16_t*>(kBackward ? a.dv : a.o);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = lane / 2 + 16 * i;
    if (token < chunk.count)
      *reinterpret_cast<uint4*>(out + ((chunk.first + token) * a.heads + h) * kValue + column +
                                lane % 2 * 8) = ptx::load_shared_uint4(own + token * 32 + lane % 2 * 16);
  }
}

}  // namespace statescope::cuda::multipass
