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
  std::string temporary = path.string() + ".XXXXXX";
  const int fd = ::mkstemp(temporary.data());
  if (fd < 0) fail(ErrorKind::kDevice, path, errno);
  const auto give_up = [&](int error) {
    ::close(fd);
    ::unlink(temporary.c_str());
    fail(ErrorKind::kDevice, path, error);
  };
  for (std::span<const std::byte> piece : pieces) {
    while (!piece.empty()) {
      const ssize_t written = ::write(fd, piece.data(), piece.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) give_up(errno);
      piece = piece.subspan(static_cast<std::size_t>(written));
    }
  }
  const mode_t mask = ::umask(0);  // mkstemp gives 0600; a written file should have the usual mode
  ::umask(mask);
  if (::fchmod(fd, 0666 & ~mask) != 0) give_up(errno);
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EROFS) give_up(errno);
  ::close(fd);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    fail(ErrorKind::kDevice, path, error);
  }
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::span(&bytes, 1));
}

void make_directory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw Error(ErrorKind::kDevice, directory.string() + ": cannot be made, " + error.message());
}

}  // namespace statescope
