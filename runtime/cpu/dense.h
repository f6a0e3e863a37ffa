// Small dense matrices in float64, row-major: just what the reference needs. Every product adds to its
// result, in the order of the summed index.
#pragma once

#include <cstdint>
#include <vector>

namespace statescope::cpu {

/// A matrix that somebody else owns; row i starts at data + i * stride.
template <typename Element>
struct BasicView {
  Element* data = nullptr;
  std::int64_t rows = 0, cols = 0, stride = 0;

  Element* row(std::int64_t i) const { return data + i * stride; }
  Element& operator()(std::int64_t i, std::int64_t j) const { return data[i * stride + j]; }
  operator BasicView<const Element>() const { return {data, rows, cols, stride}; }
};
using View = BasicView<double>;
using ConstView = BasicView<const double>;

struct Matrix {
  std::int64_t rows = 0, cols = 0;
  std::vector<double> values;

  Matrix() = default;
  /// Zero-filled.
  Matrix(std::int64_t row_count, std::int64_t col_count)
      : rows(row_count), cols(col_count), values(row_count * col_count) {}
  /// A copy.
  explicit Matrix(ConstView from);

  double* row(std::int64_t i) { return values.data() + i * cols; }
  const double* row(std::int64_t i) const { return values.data() + i * cols; }
  double& operator()(std::int64_t i, std::int64_t j) { return values[i * cols + j]; }
  double operator()(std::int64_t i, std::int64_t j) const { return values[i * cols + j]; }
  operator View() { return {values.data(), rows, cols, cols}; }
  operator ConstView() const { return {values.data(), rows, cols, cols}; }
};

/// Rows [first, first + count).
inline View rows_of(View m, std::int64_t first, std::int64_t count) {
  return {m.row(first), count, m.cols, m.stride};
}
inline ConstView rows_of(ConstView m, std::int64_t first, std::int64_t count) {
  return {m.row(first), count, m.cols, m.stride};
}
inline ConstView rows_of(const Matrix& m, std::int64_t first, std::int64_t count) {
  return rows_of(ConstView(m), first, count);
}
inline View rows_of(Matrix& m, std::int64_t first, std::int64_t count) {
  return rows_of(View(m), first, count);
}

/// Rows [row, row + rows) of columns [col, col + cols).
template <typename Element>
BasicView<Element> block_of(BasicView<Element> m, std::int64_t row, std::int64_t col, std::int64_t rows,
                            std::int64_t cols) {
  return {m.row(row) + col, rows, cols, m.stride};
}

/// C += alpha A B
void add_ab(double alpha, ConstView a, ConstView b, View c);
/// C += alpha A^T B
void add_atb(double alpha, ConstView a, ConstView b, View c);
/// C += alpha A B^T
void add_abt(double alpha, ConstView a, ConstView b, View c);
/// C += alpha A
void add(double alpha, ConstView a, View c);
/// The sum of the products of n pairs.
double dot(const double* a, const double* b, std::int64_t n);
/// <A, B>: the sum of the elementwise product.
double inner(ConstView a, ConstView b);
/// A *= alpha
void multiply(View a, double alpha);
/// Row i of A *= factors[i]: diag(factors) A
void multiply_rows(View a, const double* factors);

}  // namespace statescope::cpu
