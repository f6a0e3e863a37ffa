// limits: the paper's out-of-memory cells with our comparison kernels, and the database that they are decided
// by.
#include <set>

#include "profiler/device_db.h"
#include "tests/cli/program.h"

#include <statescope/error.h>

namespace statescope {
namespace {

nlohmann::json limits(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"limits", "--json"});
  const ProcessResult result = statescope_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return parse_json(result.out);
}

nlohmann::json cell(const nlohmann::json& device, const std::string& division, int expansion) {
  for (const auto& c : device["cells"]) {
    if (c["division"] == division && c["expansion"] == expansion) return c;
  }
  ADD_FAILURE() << division << " E " << expansion << " is not there";
  return {};
}

TEST(Limits, ReproducesTheOutOfMemoryCellsOfTheRtx3090) {
  const auto json = limits({"--device-db", "RTX 3090 (cuda)"});
  ASSERT_EQ(json["devices"].size(), 1u);
  const auto& device = json["devices"][0];
  EXPECT_EQ(device["limits"]["shared_memory_per_workgroup_bytes"], 101376);
  for (int expansion : {8, 16}) {
    const auto naive = cell(device, "naive", expansion), subheads = cell(device, "subheads", expansion);
    EXPECT_EQ(naive["fits"], false);
    EXPECT_EQ(naive["state_bytes"], expansion * 128 * 128 * 4);
    EXPECT_NE(naive["refusal"].get<std::string>().find("101376"), std::string::npos);
    EXPECT_EQ(subheads["fits"], true);
    EXPECT_EQ(subheads["state_bytes"], 128 * 128 * 4);
  }
  EXPECT_EQ(device["largest_subhead_expansion"], "any");
  EXPECT_EQ(device["largest_naive_expansion"], 1);
}

TEST(Limits, PrintsThePublishedCellsBeside) {
  const ProcessResult result = statescope_program({"limits", "--device-db", "RTX 3090"});
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_NE(result.out.find("OOM  does not fit: 512 KiB"), std::string::npos) << result.out;
  for (const char* published : {"9569", "2933", "15722", "6554", "4829", "2658"}) {
    EXPECT_NE(result.out.find(published), std::string::npos) << published;
  }
  EXPECT_NE(result.out.find("kernels tile V"), std::string::npos);
}

TEST(Limits, EveryDeviceOfTheDatabaseHasEveryCell) {
  const auto json = limits({"--expansion", "1,4", "--key-dim", "64", "--value-dim", "64"});
  EXPECT_EQ(json["devices"].size(), device_database().size());
  for (const auto& device : json["devices"]) {
    EXPECT_EQ(device["cells"].size(), 4u);
    for (const auto& c : device["cells"]) {
      EXPECT_GT(c["tile_bytes"], 0) << device["device"];
      const auto bytes = c["state_bytes"].get<std::size_t>() + c["tile_bytes"].get<std::size_t>();
      EXPECT_EQ(c["fits"], bytes <= device["limits"]["shared_memory_per_workgroup_bytes"].get<std::size_t>())
          << device["device"] << c.dump();
    }
  }
}

TEST(DeviceDatabase, HasTheDevicesAndASourceForEachFigure) {
  std::set<std::string> names;
  for (const DatabaseDevice& device : device_database()) {
    names.insert(device.name);
    EXPECT_GE(device.limits.shared_memory_per_workgroup, 16384u)
        << device.name;  // the least that Vulkan allows
    EXPECT_TRUE(device.sources.contains("shared_memory_per_workgroup")) << device.name;
    for (const auto& [field, source] : device.sources)
      EXPECT_GT(source.size(), 10u) << device.name << " " << field;
    if (device.limits.shared_memory_per_multiprocessor > 0) {
      EXPECT_GE(device.limits.shared_memory_per_multiprocessor, device.limits.shared_memory_per_workgroup)
          << device.name;
    }
  }
  for (const char* wanted :
       {"GeForce RTX 3090", "GeForce RTX 4090", "A100", "H100", "H800", "H200", "B200", "GeForce RTX 5090",
        "Instinct MI300X", "Radeon RX 6900 XT", "Radeon RX 7900 XTX", "Radeon RX 9070 XT", "Arc A770",
        "Arc B580", "Apple M-series", "Adreno 750", "Mali-G720", "llvmpipe"}) {
    EXPECT_TRUE(names.contains(wanted)) << wanted;
  }
}

TEST(DeviceDatabase, RefusesAFigureWithoutASource) {
  const auto parse = [](const std::string& limits) {
    return parse_device_database(
        R"({"sources": {"doc": "a document"}, "devices": [{"name": "X", "api": "cuda", "driver": "d", "limits": {)" +
        limits + "}}]}");
  };
  EXPECT_EQ(parse(R"("multiprocessors": [7, "doc"])").front().limits.multiprocessors, 7u);
  EXPECT_THROW(parse(R"("multiprocessors": [7, "hearsay"])"), Error);
  EXPECT_THROW(parse(R"("multiprocessors": 7)"), Error);
  EXPECT_THROW(parse(R"("colour": [7, "doc"])"), Error);
  EXPECT_THROW(parse_device_database("{"), Error);
}

}  // namespace
}  // namespace statescope
