# Called by statescope_embed at build time: SYMBOL, LIST (a file of paths), DIR.
file(STRINGS ${LIST} files)
set(arrays "")
set(entries "")
set(index 0)
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND arrays "alignas(16) constexpr unsigned char k${index}[] = {${bytes}};\n")
  string(APPEND entries "    {\"${name}\", std::as_bytes(std::span(k${index}))},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${DIR}/${SYMBOL}.h "#pragma once
#include <cstddef>
#include <span>
#include <string_view>
namespace statescope::embedded {
#ifndef STATESCOPE_EMBEDDED_FILE
#define STATESCOPE_EMBEDDED_FILE
struct File {
  std::string_view name;
  std::span<const std::byte> bytes;
};
#endif
std::span<const File> ${SYMBOL}();
}  // namespace statescope::embedded
")
file(WRITE ${DIR}/${SYMBOL}.cpp "#include \"${SYMBOL}.h\"
namespace {
${arrays}}  // namespace
namespace statescope::embedded {
std::span<const File> ${SYMBOL}() {
  static const File files[] = {
${entries}  };
  return files;
}
}  // namespace statescope::embedded
")
