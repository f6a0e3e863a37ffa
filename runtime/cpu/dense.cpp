#include "runtime/cpu/dense.h"

#include <algorithm>

namespace statescope::cpu {

Matrix::Matrix(ConstView from) : Matrix(from.rows, from.cols) {
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(from.row(i), cols, row(i));
}

void add_ab(double alpha, ConstView a, ConstView b, View c) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    double* sum = c.row(i);
    for (std::int64_t p = 0; p < a.cols; ++p) {
      const double factor = alpha * a(i, p);
      const double* addend = b.row(p);
      for (std::int64_t j = 0; j < b.cols; ++j) sum[j] += factor * addend[j];
    }
  }
}

void add_atb(double alpha, ConstView a, ConstView b, View c) {
  for (std::int64_t p = 0; p < a.rows; ++p) {
    const double* addend = b.row(p);
    for (std::int64_t i = 0; i < a.cols; ++i) {
      const double factor = alpha * a(p, i);
      double* sum = c.row(i);
      for (std::int64_t j = 0; j < b.cols; ++j) sum[j] += factor * addend[j];
    }
  }
}

void add_abt(double alpha, ConstView a, ConstView b, View c) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < b.rows; ++j) c(i, j) += alpha * dot(a.row(i), b.row(j), a.cols);
  }
}

void add(double alpha, ConstView a, View c) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const double* addend = a.row(i);
    double* sum = c.row(i);
    for (std::int64_t j = 0; j < a.cols; ++j) sum[j] += alpha * addend[j];
  }
}

double dot(const double* a, const double* b, std::int64_t n) {
  // Eight sums that do not wait for each other; the compiler may not reorder one sum by itself.
  constexpr int kSums = 8;
  double sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int s = 0; s < kSums; ++s) sums[s] += a[i + s] * b[i + s];
  }
  for (; i < n; ++i) sums[i % kSums] += a[i] * b[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

double inner(ConstView a, ConstView b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.rows; ++i) sum += dot(a.row(i), b.row(i), a.cols);
  return sum;
}

void multiply(View a, double alpha) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    double* row = a.row(i);
    for (std::int64_t j = 0; j < a.cols; ++j) row[j] *= alpha;
  }
}

void multiply_rows(View a, const double* factors) {
  for (std::int64_t i = 0; i < a.rows; ++i) multiply(rows_of(a, i, 1), factors[i]);
}

}  // namespace statescope::cpu
