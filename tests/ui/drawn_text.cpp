#include "tests/ui/drawn_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

namespace statescope::gui {
namespace {

struct Letter {
  unsigned codepoint;
  float x0, advance, space;
};

using Corner = std::array<float, 4>;

void add_letters(const ImVector<ImFontGlyph>& glyphs, std::map<Corner, Letter>& letters) {
  float space = 0;
  for (const ImFontGlyph& glyph : glyphs) {
    if (glyph.Codepoint == ' ') space = glyph.AdvanceX;
  }
  for (const ImFontGlyph& glyph : glyphs) {
    if (glyph.U1 > glyph.U0) {
      letters[{glyph.U0, glyph.V0, glyph.U1, glyph.V1}] = {glyph.Codepoint, glyph.X0, glyph.AdvanceX, space};
    }
  }
}

std::map<Corner, Letter> letters_of_atlas() {
  std::map<Corner, Letter> letters;
  for (ImFont* font : ImGui::GetIO().Fonts->Fonts) {
#if IMGUI_VERSION_NUM >= 19200
    add_letters(font->GetFontBaked(font->LegacySize)->Glyphs, letters);
#else
    add_letters(font->Glyphs, letters);
#endif
  }
  return letters;
}

void append_utf8(std::string& text, unsigned c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
  } else {
    text += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
             static_cast<char>(0x80 | (c & 0x3f))};
  }
}

/// Runs of letters that one pen wrote.
class Reader {
 public:
  Reader(const ImDrawData& data, std::vector<DrawnText>& runs) : display_(data.DisplaySize), runs_(runs) {}

  void letter(const Letter& letter, ImVec2 min, ImVec2 max, const ImVec4& clip) {
    const float pen = min.x - letter.x0;
    const float ahead = pen - pen_;
    const bool same_line = writing_ && min.y < line_max_ && max.y > line_min_;
    const bool next = same_line && std::abs(ahead) < 1.5f;
    const bool after_space = same_line && std::abs(ahead - letter.space) < 1.5f;
    if (!next && !after_space) {
      runs_.push_back({"", min, max, false});
      line_min_ = min.y;
      line_max_ = max.y;
    } else if (after_space) {
      runs_.back().text += ' ';
    }
    DrawnText& run = runs_.back();
    append_utf8(run.text, letter.codepoint);
    run.min = {std::min(run.min.x, min.x), std::min(run.min.y, min.y)};
    run.max = {std::max(run.max.x, max.x), std::max(run.max.y, max.y)};
    line_min_ = std::min(line_min_, min.y);
    line_max_ = std::max(line_max_, max.y);
    const float slack = 1;
    run.clipped = run.clipped || min.x < std::max(clip.x, 0.0f) - slack ||
                  min.y < std::max(clip.y, 0.0f) - slack || max.x > std::min(clip.z, display_.x) + slack ||
                  max.y > std::min(clip.w, display_.y) + slack;
    pen_ = pen + letter.advance;
    writing_ = true;
  }
  void other() { writing_ = false; }

 private:
  ImVec2 display_;
  std::vector<DrawnText>& runs_;
  bool writing_ = false;
  float pen_ = 0, line_min_ = 0, line_max_ = 0;
};

}  // namespace

std::vector<DrawnText> drawn_text(const ImDrawData& data) {
  const auto letters = letters_of_atlas();
  std::vector<DrawnText> runs;
  for (int n = 0; n < data.CmdListsCount; ++n) {
    const ImDrawList& list = *data.CmdLists[n];
    Reader reader(data, runs);
    for (const ImDrawCmd& command : list.CmdBuffer) {
      const ImDrawVert* vertices = list.VtxBuffer.Data + command.VtxOffset;
      const ImDrawIdx* indices = list.IdxBuffer.Data + command.IdxOffset;
      for (unsigned i = 0; i + 2 < command.ElemCount;) {
        const ImDrawIdx v = indices[i];
        const bool quad = i + 5 < command.ElemCount && indices[i + 1] == v + 1 && indices[i + 2] == v + 2 &&
                          indices[i + 3] == v && indices[i + 4] == v + 2 && indices[i + 5] == v + 3;
        if (!quad) {
          reader.other();
          i += 3;
          continue;
        }
        const ImDrawVert &a = vertices[v], &b = vertices[v + 2];
        const auto found = letters.find({a.uv.x, a.uv.y, b.uv.x, b.uv.y});
        if (found != letters.end()) {
          reader.letter(found->second, a.pos, b.pos, command.ClipRect);
        } else {
          reader.other();
        }
        i += 6;
      }
    }
  }
  return runs;
}

bool has_text(const std::vector<DrawnText>& runs, const std::string& words) {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const DrawnText& run) { return run.text.find(words) != std::string::npos; });
}

}  // namespace statescope::gui
