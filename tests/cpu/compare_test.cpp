#include "runtime/check/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <statescope/error.h>

namespace statescope {
namespace {

Tensor tensor(std::initializer_list<float> values) {
  Tensor result(DType::kF32, {static_cast<std::int64_t>(values.size())});
  std::ranges::copy(values, result.as<float>().begin());
  return result;
}

TEST(RelativeRms, IsTheRatioOfRootMeanSquares) {
  EXPECT_EQ(relative_rms(tensor({3, 4}), tensor({3, 4})), 0);
  EXPECT_DOUBLE_EQ(relative_rms(tensor({3, 5}), tensor({3, 4})), 0.2);  // 1 / sqrt(9 + 16)
  EXPECT_DOUBLE_EQ(relative_rms(tensor({0, 0}), tensor({3, 4})), 1);
}

TEST(RelativeRms, OfAnAllZeroReferenceIsTheRms) {
  EXPECT_EQ(relative_rms(tensor({0, 0}), tensor({0, 0})), 0);
  EXPECT_DOUBLE_EQ(relative_rms(tensor({1, 7}), tensor({0, 0})), 5);  // sqrt((1 + 49) / 2)
}

TEST(RelativeRms, NeverPassesNaNOrInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(relative_rms(tensor({1, nan}), tensor({1, 2}))));
  EXPECT_TRUE(std::isinf(relative_rms(tensor({1, infinity}), tensor({1, 2}))));
  EXPECT_TRUE(std::isinf(relative_rms(tensor({1, infinity}), tensor({1, infinity}))));
  EXPECT_TRUE(std::isinf(relative_rms(tensor({1, 2}), tensor({1, nan}))));
  EXPECT_FALSE((OutputError{Slot::kO, relative_rms(tensor({nan}), tensor({1})), 1e9}.ok()));
  EXPECT_FALSE((OutputError{Slot::kO, std::nan(""), 1}.ok()));
}

TEST(RelativeRms, SeesEveryElementOfALargeTensor) {
  Tensor x(DType::kF32, {200'003}), reference(DType::kF32, {200'003});
  std::ranges::fill(x.as<float>(), 1.0f);
  std::ranges::fill(reference.as<float>(), 1.0f);
  EXPECT_EQ(relative_rms(x, reference), 0);
  for (std::int64_t i : {0, 65'535, 65'536, 131'072, 200'002}) {
    x.as<float>()[i] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isinf(relative_rms(x, reference))) << i;
    x.as<float>()[i] = 1;
  }
}

TEST(RelativeRms, ComparesAcrossTypes) {
  const Tensor x = convert(tensor({1, 2, -3}).view(), DType::kBf16);
  EXPECT_EQ(relative_rms(x, convert(tensor({1, 2, -3}).view(), DType::kF64)), 0);
}

TEST(RelativeRms, RefusesOtherShapes) {
  EXPECT_THROW(relative_rms(tensor({1, 2}), tensor({1, 2, 3})), Error);
  Tensor column(DType::kF32, {2, 1});
  EXPECT_THROW(relative_rms(tensor({1, 2}), column), Error);
}

TEST(Tolerance, FollowsTypeFormAndOutput) {
  Problem problem;
  problem.form = Form::kRecurrent;
  EXPECT_EQ(tolerance(problem, Slot::kDg), 1e-5);
  problem.form = Form::kChunked;
  EXPECT_EQ(tolerance(problem, Slot::kO), 1e-4);
  for (DType dtype : {DType::kBf16, DType::kF16}) {
    problem.dtype = dtype;
    for (Slot slot : {Slot::kO, Slot::kHt}) EXPECT_EQ(tolerance(problem, slot), 5e-3);
    for (Slot slot : {Slot::kDq, Slot::kDk, Slot::kDv, Slot::kDh0}) EXPECT_EQ(tolerance(problem, slot), 8e-3);
    for (Slot slot : {Slot::kDg, Slot::kDbeta}) EXPECT_EQ(tolerance(problem, slot), 2e-2);
  }
}

TEST(CompareOutputs, MissesNoOutputOfThePass) {
  Problem problem;
  problem.pass = Pass::kBackward;
  problem.initial_state = true;
  TensorSet zeros;
  for (Slot slot : kSlots) {
    if (takes_part(problem, slot)) zeros[slot] = Tensor(DType::kF64, shape_of(problem, slot));
  }
  std::vector<Slot> slots;
  for (const OutputError& e : compare_outputs(problem, zeros, zeros)) {
    EXPECT_TRUE(e.ok());
    slots.push_back(e.slot);
  }
  EXPECT_EQ(slots, (std::vector{Slot::kDq, Slot::kDk, Slot::kDv, Slot::kDg, Slot::kDbeta, Slot::kDh0}));
  TensorSet missing = zeros;
  missing[Slot::kDg] = Tensor();
  EXPECT_THROW(compare_outputs(problem, missing, zeros), Error);
}

}  // namespace
}  // namespace statescope
