# Install rules for find_package(statescope), and the `portable` target: one relocatable folder, build/*/portable, with
# the programs, the tests and every library that is not part of the C and C++ runtime.
include(CMakePackageConfigHelpers)

install(TARGETS statescope statescope_runtime EXPORT statescope)
if(STATESCOPE_HAS_CUDA)
  install(TARGETS statescope_cuda EXPORT statescope)
endif()
install(DIRECTORY runtime/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/statescope)
install(EXPORT statescope NAMESPACE statescope:: FILE statescopeTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/statescopeConfig.cmake.in statescopeConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(statescopeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/statescopeConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/statescopeConfigVersion.cmake DESTINATION ${package_dir})

get_property(programs GLOBAL PROPERTY STATESCOPE_PROGRAMS)
if(NOT programs)
  return()
endif()
# The tests that another machine can add something to: its GPU's, and the reference that they stand on.
set(portable_programs ${programs})
list(FILTER portable_programs EXCLUDE REGEX "_tests_(cli|models|profiler|profiler_vulkan|ui)$")
foreach(program IN LISTS programs)
  if(NOT program MATCHES "_tests_")
    install(TARGETS ${program} RUNTIME)
  endif()
endforeach()
install(TARGETS ${portable_programs} RUNTIME DESTINATION bin COMPONENT portable EXCLUDE_FROM_ALL)
if(EXISTS ${PROJECT_SOURCE_DIR}/tests/golden)
  install(DIRECTORY tests/golden DESTINATION . COMPONENT portable EXCLUDE_FROM_ALL)
endif()
# The Vulkan loader is opened at run time, so no program's dependencies name it.
if(STATESCOPE_VULKAN)
  find_package(Vulkan REQUIRED)
  install(CODE "set(vulkan_loader \"${Vulkan_LIBRARY}\")" COMPONENT portable EXCLUDE_FROM_ALL)
endif()
# OpenBLAS is 36 MB of kernels for every processor; the reference BLAS has the same name and interface in 0.4 MB.
find_file(STATESCOPE_REFERENCE_BLAS libblas.so.3 PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/blas NO_DEFAULT_PATH)
install(CODE "set(reference_blas \"${STATESCOPE_REFERENCE_BLAS}\")" COMPONENT portable EXCLUDE_FROM_ALL)
install(CODE "set(programs)" COMPONENT portable EXCLUDE_FROM_ALL)
foreach(program IN LISTS portable_programs)
  install(CODE "list(APPEND programs \"$<TARGET_FILE:${program}>\")" COMPONENT portable EXCLUDE_FROM_ALL)
endforeach()
install(CODE [[
  if(NOT reference_blas)
    message(FATAL_ERROR "portable: the reference BLAS is missing (package libblas3)")
  endif()
  file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${programs} LIBRARIES ${reference_blas}
    RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing
    PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|stdc\\+\\+|gcc_s|blas|openblas)\\.so")
  list(APPEND libraries ${reference_blas})
  if(missing)
    message(FATAL_ERROR "portable: libraries not found: ${missing}")
  endif()
  if(vulkan_loader)
    get_filename_component(vulkan_dir ${vulkan_loader} DIRECTORY)
    list(APPEND libraries ${vulkan_dir}/libvulkan.so.1)
  endif()
  foreach(library IN LISTS libraries)
    file(INSTALL DESTINATION ${CMAKE_INSTALL_PREFIX}/lib TYPE SHARED_LIBRARY FOLLOW_SYMLINK_CHAIN FILES ${library})
  endforeach()
]] COMPONENT portable EXCLUDE_FROM_ALL)

set(portable_dir ${PROJECT_BINARY_DIR}/portable)
add_custom_target(portable
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${portable_dir}
  COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --component portable --strip --prefix ${portable_dir}
  COMMAND du -sh ${portable_dir}
  DEPENDS ${portable_programs}
  COMMENT "Relocatable folder: ${portable_dir}"
  VERBATIM)
