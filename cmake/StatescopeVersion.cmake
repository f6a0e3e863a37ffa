# statescope_commit: asks git for the commit at every build, so that a build directory that was configured long ago
# does not tell an old one. commit.h is written only when it changes: nothing else is built again.
set(STATESCOPE_COMMIT_DIRECTORY ${PROJECT_BINARY_DIR}/commit)
add_custom_target(statescope_commit
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DHEADER=${STATESCOPE_COMMIT_DIRECTORY}/commit.h
    -P ${CMAKE_CURRENT_LIST_DIR}/commit.cmake
  BYPRODUCTS ${STATESCOPE_COMMIT_DIRECTORY}/commit.h COMMENT "" VERBATIM)
