# STATESCOPE_COMMIT: the commit that was configured, for JSON files and --version.
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE STATESCOPE_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT STATESCOPE_COMMIT)
  set(STATESCOPE_COMMIT unknown)
endif()
