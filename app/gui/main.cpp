// statescope-app: the desktop app, in a window or without a display.
#include <charconv>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <new>
#include <span>

#include <CLI/CLI.hpp>

#include <statescope/error.h>
#include <statescope/files.h>

#include "app/gui/offscreen.h"
#include "app/gui/plot.h"
#include "app/gui/recordings.h"
#include "app/gui/window.h"
#include "profiler/build_info.h"
#include "profiler/capture.h"

namespace statescope::gui {
namespace {

struct Arguments {
  bool offscreen = false, run = false;
  std::string file, view, shader_dir, size, screenshot, export_directory;
  std::vector<std::string> set;
  double wait = 60;
};

void apply(const Arguments& arguments, Settings& settings) {
  if (!arguments.view.empty()) set(settings, "view", arguments.view);
  for (const std::string& pair : arguments.set) {
    const std::size_t at = pair.find('=');
    if (at == std::string::npos)
      throw Error(ErrorKind::kUsage, "--set: found '" + pair + "', wanted key=value");
    set(settings, pair.substr(0, at), pair.substr(at + 1));
  }
  if (!arguments.file.empty()) {
    settings.capture = arguments.file;
    if (arguments.view.empty()) settings.view = "profile";
  }
  settings.shader_dir = arguments.shader_dir;
  if (arguments.size.empty()) return;
  const std::size_t at = arguments.size.find('x');
  if (at == std::string::npos)
    throw Error(ErrorKind::kUsage, "--size: found '" + arguments.size + "', wanted WxH");
  set(settings, "width", arguments.size.substr(0, at));
  set(settings, "height", arguments.size.substr(at + 1));
}

void write_text(const std::filesystem::path& path, const std::string& content) {
  write_file_atomically(path, std::as_bytes(std::span(content)));
}

/// A window says beside its panels what cannot be opened; here it is an error. Throws what reading throws.
void check_files(const Settings& settings) {
  for (const std::string& capture : {settings.capture, settings.baseline}) {
    if (!capture.empty()) read_capture(capture);
  }
  for (const std::string& recording : settings.recordings) read_recording(recording);
}

int run_offscreen(const Arguments& arguments) {
  // Not the user's own settings: the same command gives the same picture everywhere.
  Settings settings;
  apply(arguments, settings);
  check_files(settings);
  if (!arguments.screenshot.empty()) check_place(arguments.screenshot);
  if (!arguments.export_directory.empty()) make_directory(arguments.export_directory);
  plot::capture_csv(!arguments.export_directory.empty());
  Offscreen offscreen(settings, settings.width, settings.height);
  if (arguments.run) offscreen.app().run();
  if (!offscreen.settle(arguments.wait)) {
    std::cerr << "statescope-app: still measuring after " << arguments.wait
              << " s (--wait); the picture shows what "
              << "is known so far\n";
  }
  if (!arguments.screenshot.empty()) write_png(offscreen.picture(), arguments.screenshot);
  if (!arguments.export_directory.empty()) {
    for (const std::string& id : plot::charts()) {
      write_text(std::filesystem::path(arguments.export_directory) / (id + ".csv"), plot::layout(id)->csv);
    }
  }
  return offscreen.renderer().validation_messages() == 0 ? 0 : 1;
}

std::string stamped(const std::string& name, const char* extension) {
  char stamp[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", std::localtime(&now));
  return "statescope-" + name + "-" + stamp + extension;
}

/// Pictures and data that the user asked for land in the working directory.
void save_requests(App& app, Window& window, ImDrawData* data) {
  const auto requests = plot::take_exports();
  bool pictures = app.screenshot;
  for (const plot::ExportRequest& request : requests) pictures = pictures || request.picture;
  if (!pictures && requests.empty()) return;
  try {
    Picture picture;
    if (pictures) {
      const ImVec2 size = ImGui::GetIO().DisplaySize, pixels = ImGui::GetIO().DisplayFramebufferScale;
      picture =
          window.renderer().draw_picture(data, static_cast<int>(size.x * pixels.x),
                                         static_cast<int>(size.y * pixels.y), app.theme.palette.background);
    }
    std::string saved;
    if (app.screenshot) write_png(picture, saved = stamped("screen", ".png"));
    for (const plot::ExportRequest& request : requests) {
      if (request.picture) {
        const Crop crop{static_cast<int>(request.min.x), static_cast<int>(request.min.y),
                        static_cast<int>(request.max.x - request.min.x),
                        static_cast<int>(request.max.y - request.min.y)};
        write_png(picture, saved = stamped(request.id, ".png"), &crop);
      } else {
        write_text(saved = stamped(request.id, ".csv"), request.csv);
      }
    }
    app.say("saved " + (std::filesystem::current_path() / saved).string());
  } catch (const Error& e) {
    app.say(e.what());
  }
  app.screenshot = false;
}

int run_window(const Arguments& arguments) {
  Settings settings = load_settings(settings_path());
  apply(arguments, settings);
  ImGuiScope scope;
  const float scale = Window::display_scale();
  App app(settings, scale, Window::wake);
  if (arguments.run) app.run();
  Window window(settings.width, settings.height, "Statescope");
  // After input ImGui needs a few frames to settle; otherwise the picture only changes when results arrive.
  constexpr int kFramesAfterInput = 4;
  int frames_due = kFramesAfterInput;
  while (!app.quit && !window.should_close()) {
    const bool busy = app.session.worker().state().busy;
    if (window.wait(frames_due > 0 ? 0.001 : busy ? 0.1 : 0.5)) {
      frames_due = kFramesAfterInput;
    } else if (frames_due > 0) {
      --frames_due;
    }
    for (const KeyPress& key : window.take_keys()) {
      app.press(key);
      frames_due = kFramesAfterInput;
    }
    const auto dropped = window.take_dropped();
    if (!dropped.empty()) app.drop(dropped, ImGui::GetIO().MousePos);
    if (window.minimised()) continue;
    if (app.scale_changed()) {
      app.reload_fonts();
      window.renderer().reload_fonts();
    }
    window.new_frame();
    ImGui::NewFrame();
    app.frame();
    ImGui::Render();
    save_requests(app, window, ImGui::GetDrawData());
    window.present(ImGui::GetDrawData(), app.theme.palette.background);
  }
  window.size(app.settings.width, app.settings.height);
  save_settings(app.settings, settings_path());
  return window.renderer().validation_messages() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace statescope::gui

int main(int argc, char** argv) {
  using namespace statescope;
  gui::Arguments arguments;
  CLI::App cli{"Statescope: explore state scaling live"};
  cli.set_version_flag("--version", std::string(version()) + " (" + std::string(commit()) + ")");
  cli.add_flag("--offscreen", arguments.offscreen, "draw without a display, then exit");
  cli.add_option("file", arguments.file, "a capture to open");
  cli.add_option("--view", arguments.view, "explore, profile, state or tour");
  cli.add_option("--shader-dir", arguments.shader_dir, "a folder of shaders to watch (Profile, Shader)")
      ->check(CLI::ExistingDirectory);
  cli.add_flag("--run", arguments.run, "start the view's measurement: profile, state");
  cli.add_option("--size", arguments.size, "WxH, of the window or the picture");
  cli.add_option("--screenshot", arguments.screenshot, "PNG to write (with --offscreen)");
  cli.add_option("--export", arguments.export_directory,
                 "directory for every chart's data as CSV (with --offscreen)");
  cli.add_option("--wait", arguments.wait, "most seconds to wait for measurements (with --offscreen)")
      ->capture_default_str();
  cli.add_option("--set", arguments.set, "key=value, any number of times")
      ->allow_extra_args(false);  // one a --set: the next word may be the capture
  cli.footer("Settings:\n" + gui::settings_help());
  try {
    cli.parse(argc, argv);
    if (!arguments.offscreen && (!arguments.screenshot.empty() || !arguments.export_directory.empty())) {
      throw Error(ErrorKind::kUsage, "--screenshot and --export need --offscreen");
    }
    return arguments.offscreen ? gui::run_offscreen(arguments) : gui::run_window(arguments);
  } catch (const CLI::ParseError& e) {
    return cli.exit(e) == 0 ? 0 : 2;
  } catch (const Error& e) {
    std::cerr << "statescope-app: " << e.what() << "\n";
    return exit_code(e.kind());
  } catch (const std::bad_alloc&) {
    std::cerr << "statescope-app: out of memory\n";
    return exit_code(ErrorKind::kDevice);
  } catch (const std::exception& e) {
    std::cerr << "statescope-app: " << e.what() << "\n";
    return exit_code(ErrorKind::kDevice);
  }
}
