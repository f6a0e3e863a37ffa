// The table of kernels: which one takes the time, how far from the ceilings, and whether it got worse.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "app/gui/plot_items.h"
#include "app/gui/profile.h"

namespace statescope::gui {
namespace {

struct Cell {
  double value = 0;  ///< to sort by
  std::string text;
  ImU32 color = 0;  ///< 0: the theme's text
};

struct Column {
  const char* name;
  const char* help_key;
  float width;
  std::function<Cell(const KernelRow&)> cell;
};

double ceiling_share(const KernelRow& row) {
  return std::max(row.share_of_compute.value_or(0), row.share_of_copy.value_or(0));
}

std::vector<Column> columns_of(const View& view, const OpenCapture& open,
                               const std::shared_ptr<const Comparison>& comparison) {
  std::vector<Column> columns;
  columns.push_back({"E", "expansion", 26, [&](const KernelRow& row) {
                       const std::int64_t e = open.capture.entries[row.entry].expansion;
                       return Cell{static_cast<double>(e), std::to_string(e)};
                     }});
  columns.push_back({"calls", "calls", 38, [](const KernelRow& row) {
                       return Cell{static_cast<double>(row.calls), std::to_string(row.calls)};
                     }});
  columns.push_back({"total", "total", 58, [](const KernelRow& row) {
                       return Cell{row.total, duration(row.total)};
                     }});
  columns.push_back({"share", "share", 44, [](const KernelRow& row) {
                       return Cell{row.share, percentage(row.share)};
                     }});
  columns.push_back({"median", "median", 60, [](const KernelRow& row) {
                       return Cell{row.seconds.median, duration(row.seconds.median)};
                     }});
  columns.push_back({"p95", "p95", 60, [](const KernelRow& row) {
                       return Cell{row.p95, duration(row.p95)};
                     }});
  columns.push_back({"flop/s", "flops", 46, [](const KernelRow& row) {
                       const double rate = row.flop_per_second.value_or(0);
                       return Cell{rate, rate > 0 ? plot::format_value(rate) : "-"};
                     }});
  columns.push_back({"ceiling", "ceiling", 50, [](const KernelRow& row) {
                       const double share = ceiling_share(row);
                       return Cell{share, share > 0 ? percentage(share) : "-"};
                     }});
  if (comparison) {
    columns.push_back(
        {"was 1", "ratio", 54, [&view, &open, comparison](const KernelRow& row) {
           const CompareRow* found = compared(comparison.get(), open, row);
           if (!found || found->ratio == 0) return Cell{0, found ? "new" : "-"};
           return Cell{found->ratio, times(found->ratio), verdict_color(view.theme, found->verdict)};
         }});
  }
  return columns;
}

/// The heading stands over its figures: at the right, but for the first.
void header(const Theme& theme, int column, const char* name, const char* help_key) {
  ImGui::PushFont(theme.fonts.small);
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  const float room = ImGui::GetContentRegionAvail().x;
  ImGui::PushStyleColor(ImGuiCol_Text, color(theme.palette.dim));
  ImGui::TableHeader((std::string("##") + name).c_str());
  ImGui::PopStyleColor();
  help_on_hover(theme, help_key);
  const bool sorted = ImGui::TableGetColumnFlags(column) & ImGuiTableColumnFlags_IsSorted;
  const float arrow = sorted ? theme.px(12) : 0, width = ImGui::CalcTextSize(name).x;
  const float left = column == 0 ? corner.x : corner.x + room - width - arrow;
  ImGui::GetWindowDrawList()->AddText({std::floor(left), corner.y}, theme.palette.dim, name);
  ImGui::PopFont();
}

/// Rows by the column that is clicked; as the table of kernels has them where none is.
std::vector<std::size_t> order_of(const OpenCapture& open, const std::vector<Column>& columns,
                                  const std::string& filter) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < open.kernels.size(); ++i) {
    if (kernel_label(open, open.kernels[i]).find(filter) != std::string::npos) order.push_back(i);
  }
  const ImGuiTableSortSpecs* specs = ImGui::TableGetSortSpecs();
  if (!specs || specs->SpecsCount == 0) return order;
  const ImGuiTableColumnSortSpecs& by = specs->Specs[0];
  const bool falling = by.SortDirection == ImGuiSortDirection_Descending;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const KernelRow &x = open.kernels[falling ? b : a], &y = open.kernels[falling ? a : b];
    if (by.ColumnIndex == 0) return kernel_label(open, x) < kernel_label(open, y);
    const auto& column = columns[static_cast<std::size_t>(by.ColumnIndex) - 1];
    return column.cell(x).value < column.cell(y).value;
  });
  return order;
}

void first_cell(const View& view, ProfileUi& ui, std::size_t index) {
  const Theme& theme = view.theme;
  const OpenCapture& open = *ui.shown;
  const KernelRow& row = open.kernels[index];
  const CaptureEntry& entry = open.capture.entries[row.entry];
  const bool part = entry.launches.size() > 1 && !row.whole_run;
  ImGui::PushID(static_cast<int>(index));
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  ImGui::PushFont(theme.fonts.small);
  if (ImGui::Selectable("##row", ui.kernel == index, ImGuiSelectableFlags_SpanAllColumns)) ui.kernel = index;
  if (ImGui::IsItemHovered()) {
    ImGui::SetTooltip("%s\n%s %s", row.kernel.c_str(), std::string(name(entry.series)).c_str(),
                      describe(entry.problem).c_str());
  }
  const float line = ImGui::GetTextLineHeight();
  ImGui::PopFont();
  const float indent = theme.px(part ? 12 : 0);
  const SeriesLook look = look_of(theme, entry.series);
  if (!part) {
    plot::draw_marker(*ImGui::GetWindowDrawList(), {corner.x + theme.px(5), corner.y + line / 2}, look.marker,
                      theme.px(3.5f), look.color, false, theme.px(1.5f));
  }
  ImGui::SameLine(theme.px(14) + indent);
  text(theme.fonts.small, part ? theme.palette.dim : theme.palette.text, kernel_label(open, row),
       ImGui::GetContentRegionAvail().x);
  ImGui::PopID();
}

}  // namespace

std::string kernel_label(const OpenCapture& open, const KernelRow& row) {
  const auto& entries = open.capture.entries;
  const CaptureEntry& entry = entries[row.entry];
  const bool part = entry.launches.size() > 1 && !row.whole_run;
  std::string label = row.kernel;
  const auto without = [&](const std::string& prefix) {
    if (label.size() > prefix.size() && label.starts_with(prefix)) label.erase(0, prefix.size());
  };
  const std::string api = std::string(name(open.capture.devices[entry.device].info.api)) + ".";
  without(api);
  if (part) {
    const std::string run = entry.kernel.starts_with(api) ? entry.kernel.substr(api.size()) : entry.kernel;
    without(run + ".");
    without(std::string(name(entry.problem.rule)) + ".");
    without(std::string(name(entry.problem.pass)) + ".");
    return label;
  }
  const bool passes = std::any_of(entries.begin(), entries.end(), [&](const CaptureEntry& other) {
    return other.problem.pass != entry.problem.pass;
  });
  if (passes) label += " " + std::string(name(entry.problem.pass));
  if (open.capture.devices.size() > 1) label += ", " + open.capture.devices[entry.device].info.name;
  return label;
}

void right_text(ImFont* font, ImU32 packed, const std::string& line) {
  ImGui::PushFont(font);
  const float width = ImGui::CalcTextSize(line.c_str()).x;
  ImGui::PopFont();
  const float room = ImGui::GetContentRegionAvail().x - width;
  if (room > 0) ImGui::SetCursorPosX(std::floor(ImGui::GetCursorPosX() + room));
  text(font, packed, line);
}

void kernel_table_panel(const View& view, ProfileUi& ui, Rect rect) {
  const Theme& theme = view.theme;
  const ImVec2 size = begin_panel(theme, "kernels-panel", rect, "Kernels", "", "kernels");
  if (!ui.shown) {
    end_panel();
    return;
  }
  const OpenCapture& open = *ui.shown;
  ImGui::SameLine(0, theme.px(14));
  for (const SweepSeries series : kSweepSeries) {
    const SeriesLook look = look_of(theme, series);
    legend_entry(theme, look.color, look.marker, false, look.name);
    ImGui::SameLine(0, theme.px(10));
  }
  char filter[64];
  std::snprintf(filter, sizeof filter, "%s", ui.filter.c_str());
  ImGui::SetNextItemWidth(ImGui::GetContentRegionAvail().x);
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {theme.px(6), theme.px(2)});
  ImGui::PushFont(theme.fonts.small);
  if (ImGui::InputTextWithHint("##filter", "filter by name", filter, sizeof filter)) ui.filter = filter;
  ImGui::PopFont();
  ImGui::PopStyleVar();
  (void)size;

  const auto comparison = ui.captures.comparison();
  const std::vector<Column> columns = columns_of(view, open, comparison);
  ImGui::PushStyleVar(ImGuiStyleVar_CellPadding, {theme.px(4), theme.px(2)});
  ImGui::PushStyleColor(ImGuiCol_TableHeaderBg, color(theme.palette.panel));
  ImGui::PushStyleColor(ImGuiCol_TableBorderLight, color(theme.palette.border));
  ImGui::PushStyleColor(ImGuiCol_Header, color(theme.palette.control));
  // Whole rows only: a row that is cut in half reads badly.
  ImGui::PushFont(theme.fonts.small);
  const float row_height = ImGui::GetTextLineHeight() + 2 * theme.px(2);
  ImGui::PopFont();
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float height = std::floor(room.y / row_height) * row_height;
  if (ImGui::BeginTable("kernels", static_cast<int>(columns.size()) + 1,
                        ImGuiTableFlags_Sortable | ImGuiTableFlags_SortTristate | ImGuiTableFlags_ScrollY |
                            ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_SizingFixedFit |
                            ImGuiTableFlags_NoSavedSettings,
                        {room.x, height})) {
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("kernel", ImGuiTableColumnFlags_WidthStretch);
    for (const Column& column : columns) {
      ImGui::TableSetupColumn(column.name,
                              ImGuiTableColumnFlags_WidthFixed | ImGuiTableColumnFlags_PreferSortDescending,
                              theme.px(column.width));
    }
    ImGui::TableNextRow(ImGuiTableRowFlags_Headers, row_height);
    ImGui::TableSetColumnIndex(0);
    header(theme, 0, "kernel", "kernels");
    for (std::size_t i = 0; i < columns.size(); ++i) {
      ImGui::TableSetColumnIndex(static_cast<int>(i) + 1);
      header(theme, static_cast<int>(i) + 1, columns[i].name, columns[i].help_key);
    }
    ui.order = order_of(open, columns, ui.filter);
    for (const std::size_t index : ui.order) {
      ImGui::TableNextRow(ImGuiTableRowFlags_None, row_height);
      ImGui::TableSetColumnIndex(0);
      first_cell(view, ui, index);
      for (std::size_t i = 0; i < columns.size(); ++i) {
        ImGui::TableSetColumnIndex(static_cast<int>(i) + 1);
        const Cell cell = columns[i].cell(open.kernels[index]);
        right_text(theme.fonts.small, cell.color ? cell.color : theme.palette.text, cell.text);
      }
    }
    ImGui::EndTable();
  }
  ImGui::PopStyleColor(3);
  ImGui::PopStyleVar();
  end_panel();
}

}  // namespace statescope::gui
