// The panels of the Explore view. Each draws itself into a rectangle from the settings and what the session
// knows.
#pragma once

#include <array>
#include <cstdint>

#include "app/gui/session.h"
#include "app/gui/theme.h"
#include "app/gui/widgets.h"
#include "profiler/device_db.h"

namespace statescope::gui {

inline constexpr std::int64_t kMostExpansion = 32;

/// What a panel may look at and change.
struct View {
  const Theme& theme;
  Settings& settings;
  Session& session;
  Problem base;                ///< the sizes in force on the first device, at E = 1
  const DeviceInfo* first;     ///< that measures; null until devices are known
  std::string_view highlight;  ///< the panel that the tour points at; empty
};

/// Colour and marker of a series; the same everywhere.
struct SeriesLook {
  ImU32 color;
  plot::Marker marker;
  const char* name;
};
SeriesLook look_of(const Theme& theme, SweepSeries series);
/// Of keys; nothing: the captured file.
SeriesLook look_of(const Theme& theme, std::optional<KeySource> source);
/// Whether the settings' division shows a series.
bool shows(const Settings& settings, SweepSeries series);

/// The device that Profile and State run on; null until devices are known. And the combo that chooses it.
const DeviceInfo* chosen_device(const View& view);
void device_combo(const View& view);

/// The captured file or checkpoint that the settings name.
KeyFile key_file(const Settings& settings);

/// Database devices whose limits are drawn.
std::vector<DatabaseDevice> limit_devices(const Settings& settings);

void memory_panel(const View& view, Rect rect);
void speed_panel(const View& view, Rect rect);
void state_panel(const View& view, Rect rect);
void dilution_panel(const View& view, Rect rect);

/// The points of the throughput curves: the slider's E first, then powers of two.
std::vector<SpeedRequest> speed_requests(const View& view);

}  // namespace statescope::gui
