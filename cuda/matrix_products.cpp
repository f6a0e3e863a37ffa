// cuBLASLt counts in columns: a row-major C = A B is its column-major C^T = B^T A^T, so the operands change
// places.
#include "cuda/matrix_products.h"

#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>

#include <cublasLt.h>

#include <statescope/error.h>

#include "cuda/kernels.h"

namespace statescope::cuda {
namespace {

/// What NVIDIA recommends for Hopper; less elsewhere does no harm to ask for.
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic;
  decltype(&cublasLtMatmulDescCreate) create_description;
  decltype(&cublasLtMatmulDescDestroy) destroy_description;
  decltype(&cublasLtMatmulDescSetAttribute) set_description;
  decltype(&cublasLtMatrixLayoutCreate) create_layout;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&cublasLtMatrixLayoutSetAttribute) set_layout;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;
};

Library load() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = nullptr;
  for (const std::string& file : {name, "/usr/local/cuda/lib64/" + name}) {
    library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library) break;
  }
  if (!library)
    throw Error(ErrorKind::kRefused, "matrix products on CUDA need " + name + ", which was not found");
  Library l{};
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
    if (!function) throw Error(ErrorKind::kRefused, name + " has no function " + symbol);
  };
  find(l.create, "cublasLtCreate");
  find(l.destroy, "cublasLtDestroy");
  find(l.matmul, "cublasLtMatmul");
  find(l.get_heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(l.create_description, "cublasLtMatmulDescCreate");
  find(l.destroy_description, "cublasLtMatmulDescDestroy");
  find(l.set_description, "cublasLtMatmulDescSetAttribute");
  find(l.create_layout, "cublasLtMatrixLayoutCreate");
  find(l.destroy_layout, "cublasLtMatrixLayoutDestroy");
  find(l.set_layout, "cublasLtMatrixLayoutSetAttribute");
  find(l.create_preference, "cublasLtMatmulPreferenceCreate");
  find(l.destroy_preference, "cublasLtMatmulPreferenceDestroy");
  find(l.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  return l;
}

void check(cublasStatus_t status, const std::string& doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorKind::kDevice, "cuBLASLt: " + doing + ": status " + std::to_string(status));
}

cudaDataType_t type_of(DType type) {
  if (type == DType::kBf16) return CUDA_R_16BF;
  if (type == DType::kF16) return CUDA_R_16F;
  return CUDA_R_32F;
}

/// The largest power of two, to 256, that divides the address: heuristics must not count on more.
std::uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(256, address & (~address + 1)));
}

}  // namespace

struct MatrixProducts::Impl {
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, bool, DType, DType,
                         std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::uint32_t, std::uint32_t, std::uint32_t>;
  /// Descriptors of a product of given sizes, and the algorithm that was picked for it.
  struct Prepared {
    cublasLtMatmulDesc_t description = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };

  Library library = load();
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Key, Prepared> prepared;

  Impl() {
    check(library.create(&handle), "creating a handle");
    cuda::check(cudaMalloc(&workspace, kWorkspaceBytes), "allocating the workspace of cuBLASLt");
  }
  ~Impl() {
    for (auto& [key, one] : prepared) {
      library.destroy_description(one.description);
      for (cublasLtMatrixLayout_t layout : {one.a, one.b, one.c}) library.destroy_layout(layout);
    }
    cudaFree(workspace);
    library.destroy(handle);
  }

  /// rows x cols, row-major.
  cublasLtMatrixLayout_t layout_of(const DeviceMatrix& m, std::int64_t rows, std::int64_t cols,
                                   std::int64_t batch) {
    cublasLtMatrixLayout_t layout = nullptr;
    check(library.create_layout(&layout, type_of(m.type), static_cast<std::uint64_t>(cols),
                                static_cast<std::uint64_t>(rows), m.row_stride),
          "describing a matrix");
    const auto count = static_cast<std::int32_t>(batch);
    check(library.set_layout(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
          "describing a batch");
    check(library.set_layout(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &m.batch_stride,
                             sizeof m.batch_stride),
          "describing a batch");
    return layout;
  }

  Prepared prepare(const Product& p, const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c) {
    Prepared one;
    check(library.create_description(&one.description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "describing a product");
    const cublasOperation_t transpose = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(library.set_description(one.description, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose),
          "describing a product");
    one.a = layout_of(a, p.m, p.k, p.batch);
    one.b = p.transpose_b ? layout_of(b, p.n, p.k, p.batch) : layout_of(b, p.k, p.n, p.batch);
    one.c = layout_of(c, p.m, p.n, p.batch);
    cublasLtMatmulPreference_t preference = nullptr;
    check(library.create_preference(&preference), "asking for an algorithm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check(library.set_preference(preference, attribute, &value, sizeof value), "asking for an algorithm");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(b.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(a.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(c.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(c.data));
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status = library.get_heuristic(handle, one.description, one.b, one.a, one.c, one.c,
                                                        preference, 1, &found, &count);
    library.destroy_preference(preference);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
      throw Error(ErrorKind::kRefused, "cuBLASLt has no algorithm for a product of " + std::to_string(p.m) +
                                           " x " + std::to_string(p.k) + " by " + std::to_string(p.k) +
                                           " x " + std::to_string(p.n) + " in " + std::string(name(a.type)) +
                                           " (status " + std::to_string(status) + ")");
    }
    one.algorithm = found.algo;
    return one;
  }
};

MatrixProducts::MatrixProducts() : impl_(std::make_unique<Impl>()) {}
MatrixProducts::~MatrixProducts() = default;

void MatrixProducts::multiply(const Product& p, const DeviceMatrix& a, const DeviceMatrix& b,
                              const DeviceMatrix& c, cudaStream_t stream) {
  if (a.type != b.type || (c.type != a.type && c.type != DType::kF32)) {
    throw Error(ErrorKind::kUsage, "product: found types " + std::string(name(a.type)) + ", " +
                                       std::string(name(b.type)) + " and " + std::string(name(c.type)) +
                                       ", wanted two of one type and the third of it or f32");
  }
  const Impl::Key key{p.m,
                      p.n,
                      p.k,
                      p.batch,
                      p.transpose_b,
                      p.accumulate,
                      a.type,
                      c.type,
                      a.row_stride,
                      b.row_stride,
                      c.row_stride,
                      a.batch_stride,
                      b.batch_stride,
                      c.batch_stride,
                      alignment_of(a.data),
                      alignment_of(b.data),
                      alignment_of(c.data)};
  auto it = impl_->prepared.find(key);
  if (it == impl_->prepared.end()) it = impl_->prepared.emplace(key, impl_->prepare(p, a, b, c)).first;
  const Impl::Prepared& one = it->second;
  const float beta = p.accumulate ? 1 : 0;
  check(impl_->library.matmul(impl_->handle, one.description, &p.alpha, b.data, one.b, a.data, one.a, &beta,
                              c.data, one.c, c.data, one.c, &one.algorithm, impl_->workspace, kWorkspaceBytes,
                              stream),
        "a matrix product");
}

}  // namespace statescope::cuda
