// Files as every part of the program reads and writes them: a whole file at once, and a place that is found
// out before the work.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace statescope {

/// The whole of a file. Throws Error(kUsage), one line with the path, when it is missing, a directory or
/// cannot be read.
std::string read_text_file(const std::filesystem::path& path);

/// Writes to a temporary name beside `path`, then renames: a failure leaves no half-written file. A symbolic
/// link stays and what it names is written; a pipe or a device is written straight into. Throws
/// Error(kDevice) when the disk is full or the place is not writable, Error(kUsage) when `path` is a
/// directory.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
/// The same of several pieces, one behind the other.
void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> pieces);

/// Throws what write_file_atomically() would of this place, before the work whose result goes there; leaves
/// nothing.
void check_place(const std::filesystem::path& path);

/// Makes a directory and those above it; one that is there stays. Throws Error(kDevice) when that fails or no
/// file can be made in it.
void make_directory(const std::filesystem::path& directory);

}  // namespace statescope
