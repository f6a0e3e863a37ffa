// Memory of a Compute: freed arrays wait by size for the next of that size. Operations run in order, so a
// waiting one may be taken again at once.
#include <statescope/compute.h>

#include <algorithm>
#include <bit>
#include <utility>

#include <statescope/error.h>

namespace statescope {

struct Compute::Pool {
  std::shared_ptr<Usage> usage;
  std::multimap<std::size_t, std::unique_ptr<Storage>> free;

  void clear() {
    for (const auto& [bytes, storage] : free) usage->now -= bytes;
    free.clear();
  }
  ~Pool() { clear(); }
};

namespace {

/// Eight sizes between powers of two: at most an eighth is wasted, and sequences of nearly the same length
/// share.
std::size_t size_class(std::size_t bytes) {
  constexpr std::size_t kLeast = 256;
  const std::size_t granule = std::max(kLeast, std::bit_floor(bytes) / 8);
  return std::max<std::size_t>(1, (bytes + granule - 1) / granule) * granule;
}

}  // namespace

std::shared_ptr<Compute> Device::compute() {
  throw Error(ErrorKind::kRefused, info().name + ": whole layers do not run on this device");
}

Compute::~Compute() = default;

std::shared_ptr<Compute::Pool> Compute::new_pool() const {
  auto pool = std::make_shared<Pool>();
  pool->usage = usage_;
  return pool;
}

Array Compute::allocate(DType dtype, std::int64_t size) {
  if (!pool_) pool_ = new_pool();
  const std::shared_ptr<Pool> pool = recorded_ ? recorded_ : pool_;
  const std::size_t bytes = size_class(static_cast<std::size_t>(size) * size_of(dtype));
  std::unique_ptr<Storage> storage;
  if (const auto waiting = pool->free.find(bytes); waiting != pool->free.end()) {
    storage = std::move(waiting->second);
    pool->free.erase(waiting);
  } else {
    try {
      storage = create_storage(bytes);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDevice || pool_->free.empty()) throw;
      if (!recorded_) wait();  // what a recording follows is done, and what it has used is its own
      pool_->clear();
      storage = create_storage(bytes);
    }
    usage_->now += bytes;
    usage_->peak = std::max(usage_->peak, usage_->now);
  }
  storage->bytes = bytes;
  const auto give_back = [pool, bytes](Storage* freed) { pool->free.emplace(bytes, freed); };
  return {dtype, size, std::shared_ptr<Storage>(storage.release(), give_back)};
}

Array Compute::constant(const TensorView& view, DType dtype) {
  const Tensor converted = convert(view, dtype);
  Array array = allocate(dtype, converted.size());
  upload(array, converted.bytes);
  return array;
}

Tensor Compute::download(const Array& from, Shape shape) {
  Tensor tensor(from.dtype, std::move(shape));
  download(from, std::span(tensor.bytes));
  return tensor;
}

void Compute::apply(Pointwise f, const Array& out, const std::vector<Array>& in, float p, float r) {
  std::vector<View> views;
  for (const Array& array : in) views.push_back({array});
  apply(f, Extents{1, 1, 1, out.size}, View{out}, views, p, r);
}

std::function<void()> Compute::record(const std::function<void()>& work) {
  begin_recording();
  recorded_ = new_pool();
  try {
    work();
  } catch (...) {
    abandon_recording();
    recorded_.reset();
    throw;
  }
  const std::function<void()> repeat = end_recording(std::exchange(recorded_, {}));
  return repeat ? repeat : work;
}

std::size_t Compute::memory_bytes() const {
  return usage_->now;
}

std::size_t Compute::peak_memory_bytes() const {
  return usage_->peak;
}

}  // namespace statescope
