#include "profiler/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <statescope/error.h>

extern char** environ;

namespace statescope {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(ErrorKind::kDevice, what + ": " + std::strerror(error));
}

/// A file in memory: no pipe that fills, no name on a disk.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("statescope", MFD_CLOEXEC)) {
    if (descriptor_ < 0) fail("memfd_create", errno);
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }

  void fill(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = write(descriptor_, text.data(), text.size());
      if (written < 0 && errno != EINTR) fail("writing to a child's input", errno);
      if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
    }
    lseek(descriptor_, 0, SEEK_SET);
  }

  std::string contents() const {
    std::string text(static_cast<std::size_t>(lseek(descriptor_, 0, SEEK_END)), '\0');
    std::size_t have = 0;
    while (have < text.size()) {
      const ssize_t got =
          pread(descriptor_, text.data() + have, text.size() - have, static_cast<off_t>(have));
      if (got < 0 && errno != EINTR) fail("reading a child's output", errno);
      if (got == 0) break;
      if (got > 0) have += static_cast<std::size_t>(got);
    }
    text.resize(have);
    return text;
  }

 private:
  int descriptor_;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (const std::string& text : strings) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

std::vector<std::string> joined_environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> joined;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    if (!changes.contains(text.substr(0, text.find('=')))) joined.push_back(text);
  }
  for (const auto& [name, value] : changes) joined.push_back(name + "=" + value);
  return joined;
}

}  // namespace

std::optional<ProcessResult> run_process(const std::vector<std::string>& arguments, std::string_view input,
                                         const std::map<std::string, std::string>& environment) {
  MemoryFile in, out, err;
  in.fill(input);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.descriptor(), STDERR_FILENO);
  const std::vector<std::string> variables = joined_environment(environment);
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments.front().c_str(), &actions, nullptr,
                                 pointers(arguments).data(), pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return std::nullopt;
  if (error != 0) fail("starting " + arguments.front(), error);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("waiting for " + arguments.front(), errno);
  }
  ProcessResult result;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.out = out.contents();
  result.err = err.contents();
  return result;
}

}  // namespace statescope
