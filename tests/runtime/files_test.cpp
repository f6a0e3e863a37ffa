// Files: what a symbolic link, a pipe or a directory in the place of an output becomes.
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include <sys/stat.h>

#include "tests/temporary_directory.h"

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope {
namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

TEST(Files, LinksStayAndWhatTheyNameIsWritten) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "there");
  write(directory / "there/file", "old");
  std::filesystem::create_symlink("there/file", directory / "relative");
  std::filesystem::create_symlink(directory / "relative", directory / "absolute");
  std::filesystem::create_symlink("there/new", directory / "dangling");
  std::filesystem::create_symlink("loop", directory / "loop");
  write(directory / "absolute", "through two links");
  write(directory / "dangling", "made");
  EXPECT_EQ(read_text_file(directory / "there/file"), "through two links");
  EXPECT_EQ(read_text_file(directory / "there/new"), "made");
  for (const char* link : {"relative", "absolute", "dangling"})
    EXPECT_TRUE(std::filesystem::is_symlink(directory / link)) << link;
  EXPECT_THROW(write(directory / "loop", "x"), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory / "there"), {}), 2)
      << "a temporary file";
}

TEST(Files, WhatIsNoFileStays) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "empty");
  std::filesystem::create_directory_symlink("empty", directory / "link");
  for (const char* place : {"empty", "link"}) {
    EXPECT_THROW(write(directory / place, "x"), Error) << place;
    EXPECT_THROW(check_place(directory / place), Error) << place;
  }
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "link"));
  EXPECT_TRUE(std::filesystem::is_empty(directory / "empty"));

  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  check_place(directory / "pipe");
  std::string received;
  std::thread reader([&] { received = read_text_file(directory / "pipe"); });
  write(directory / "pipe", "through the pipe");
  reader.join();
  EXPECT_EQ(received, "through the pipe");
  EXPECT_TRUE(std::filesystem::is_fifo(directory / "pipe"));
}

TEST(Files, APlaceIsCheckedAndLeftAsItWas) {
  TemporaryDirectory directory;
  check_place(directory / "new");
  EXPECT_TRUE(directory.empty());
  write(directory / "file", "old");
  check_place(directory / "file");
  EXPECT_EQ(read_text_file(directory / "file"), "old");
  EXPECT_THROW(check_place(directory / "absent/x"), Error);
  EXPECT_THROW(make_directory(directory / "file"), Error);
  EXPECT_THROW(make_directory(directory / "file/x"), Error);
  make_directory(directory / "a/b");
  EXPECT_TRUE(std::filesystem::is_empty(directory / "a/b"));
}

}  // namespace
}  // namespace statescope
