# statescope_target(target): the house's warnings, sanitizers and include root for one of our own targets. Programs are
# also noted for the portable folder (StatescopePackage.cmake).
function(statescope_target target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow>
    # GCC 12 sees overlapping copies in "literal" + std::string (its bug 105651).
    $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STATESCOPE_WERROR}>>:-Werror>)
  if(STATESCOPE_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all>)
    target_link_options(${target} PUBLIC -fsanitize=address,undefined)
  endif()
  get_target_property(type ${target} TYPE)
  if(type STREQUAL EXECUTABLE)
    # DT_RPATH, not DT_RUNPATH: the libraries' own dependencies are looked for in the folder too.
    target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
    set_property(GLOBAL APPEND PROPERTY STATESCOPE_PROGRAMS ${target})
  endif()
endfunction()
