#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope {
namespace {

[[noreturn]] void fail(ErrorKind kind, const std::filesystem::path& path, int error) {
  throw Error(kind, path.string() + ": " + std::strerror(error));
}

/// Behind the symbolic links: these stay, and what they name is written.
std::filesystem::path target_of(std::filesystem::path path) {
  constexpr int kMostLinks = 40;  // as the kernel's
  for (int links = 0; links < kMostLinks; ++links) {
    std::error_code none;
    const std::filesystem::path next = std::filesystem::read_symlink(path, none);
    if (none) return path;
    path = path.parent_path() / next;  // an absolute `next` replaces its parent
  }
  fail(ErrorKind::kUsage, path, ELOOP);
}

/// A file on its way: a temporary one beside the target, gone unless it is kept. A device or a pipe, which no
/// rename can replace, is written itself.
class Output {
 public:
  explicit Output(const std::filesystem::path& path) : path_(path) {
    struct stat status {};
    const bool there = ::stat(path.c_str(), &status) == 0;
    if (there && S_ISDIR(status.st_mode)) fail(ErrorKind::kUsage, path, EISDIR);
    if (there && !S_ISREG(status.st_mode)) {
      fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    } else {
      target_ = target_of(path);
      temporary_ = target_.string() + ".XXXXXX";
      fd_ = ::mkstemp(temporary_.data());
    }
    if (fd_ < 0) fail(ErrorKind::kDevice, path, errno);
  }
  ~Output() {
    if (fd_ >= 0) ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      check(written >= 0);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void keep() {
    if (temporary_.empty()) return;
    const mode_t mask = ::umask(0);  // mkstemp gives 0600; a written file should have the usual mode
    ::umask(mask);
    check(::fchmod(fd_, 0666 & ~mask) == 0);
    check(::fsync(fd_) == 0 || errno == EINVAL || errno == EROFS);
    check(::rename(temporary_.c_str(), target_.c_str()) == 0);
    temporary_.clear();
  }

 private:
  void check(bool done) const {
    if (!done) fail(ErrorKind::kDevice, path_, errno);
  }

  std::filesystem::path path_, target_;
  std::string temporary_;  ///< empty: nothing to remove
  int fd_ = -1;
};

}  // namespace

std::string read_text_file(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(ErrorKind::kUsage, path, errno);
  std::string text;
  char block[1 << 16];
  for (;;) {
    const ssize_t count = ::read(fd, block, sizeof block);
    if (count > 0) text.append(block, static_cast<std::size_t>(count));
    if (count > 0 || (count < 0 && errno == EINTR)) continue;
    const int error = errno;
    ::close(fd);
    if (count < 0) fail(ErrorKind::kUsage, path, error);
    return text;
  }
}

void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> pieces) {
  Output output(path);
  for (std::span<const std::byte> piece : pieces) output.write(piece);
  output.keep();
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::span(&bytes, 1));
}

void check_place(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode)) return;  // opening waits for a reader
  Output(path).write({});
}

void make_directory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw Error(ErrorKind::kDevice, directory.string() + ": cannot be made, " + error.message());
  if (::access(directory.c_str(), W_OK | X_OK) != 0) fail(ErrorKind::kDevice, directory, errno);
}

}  // namespace statescope
