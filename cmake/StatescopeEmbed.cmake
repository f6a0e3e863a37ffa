# statescope_embed(target symbol file...): compiles files into the target as bytes, so that programs need nothing
# beside them at run time. Declares, in the generated header "<symbol>.h",
#   namespace statescope::embedded { std::span<const File> <symbol>(); }   File = {name, bytes}
set(STATESCOPE_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)

function(statescope_embed target symbol)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/embedded)
  set(source ${dir}/${symbol}.cpp)
  set(list ${dir}/${symbol}.txt)
  list(JOIN ARGN "\n" lines)
  file(GENERATE OUTPUT ${list} CONTENT "${lines}\n")
  add_custom_command(
    OUTPUT ${source} ${dir}/${symbol}.h
    COMMAND ${CMAKE_COMMAND} -DSYMBOL=${symbol} -DLIST=${list} -DDIR=${dir} -P ${STATESCOPE_EMBED_SCRIPT}
    DEPENDS ${ARGN} ${STATESCOPE_EMBED_SCRIPT} ${list}
    COMMENT "Embedding ${symbol}"
    VERBATIM)
  target_sources(${target} PRIVATE ${source} ${dir}/${symbol}.h)
  target_include_directories(${target} PRIVATE ${dir})
endfunction()
