# Called by statescope_commit at build time: SOURCE, HEADER. Source without a repository of its own, as in an archive
# (which may lie inside another's), is "unknown".
set(commit unknown)
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-toplevel
  OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
get_filename_component(source ${SOURCE} REALPATH)
if(NOT failed AND top STREQUAL source)
  execute_process(COMMAND git --no-optional-locks -C ${SOURCE} describe --always --dirty --abbrev=12
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(described)
    set(commit ${described})
  endif()
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define STATESCOPE_COMMIT \"${commit}\"\n" @ONLY) # only when it differs
