// Products of cooperative matrices on eight independent sums a subgroup, for the device's own rate of 16-bit factors
// with float32 sums. Every element of the factors is one, so that a sum's elements are rounds times K.
#version 450
#pragma use_vulkan_memory_model  // cooperative matrices ask for it
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;

layout(binding = 0) readonly buffer SourceBuffer { uint data[]; } source;  // a matrix of ones, two elements a word
layout(binding = 1) writeonly buffer TargetBuffer { float data[]; } target;  // [subgroups][M][N]

layout(push_constant) uniform Sizes {
  uint rounds;  // 8 products a subgroup each
};

const uint SUMS = 8;

void main() {
  coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a;
  coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
  coopMatLoad(a, source.data, 0, K / 2, gl_CooperativeMatrixLayoutRowMajor);
  coopMatLoad(b, source.data, 0, N / 2, gl_CooperativeMatrixLayoutRowMajor);
  coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[SUMS];
  for (uint i = 0; i < SUMS; ++i) sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0);
  for (uint round = 0; round < rounds; ++round) {
    for (uint i = 0; i < SUMS; ++i) sums[i] = coopMatMulAdd(a, b, sums[i]);
  }
  for (uint i = 1; i < SUMS; ++i) sums[0] += sums[i];
  const uint subgroup = gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID;
  coopMatStore(sums[0], target.data, subgroup * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
}
