# libFuzzer targets: one executable per tests/fuzz/<target>_fuzzer.cpp, in the build directory.
# Seeds stand in tests/fuzz/seeds/<target>/, a dictionary in tests/fuzz/<target>.dict. The product's
# code that they exercise is compiled with the same sanitizers and with coverage.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "KUBELANE_FUZZ wants clang: -DCMAKE_CXX_COMPILER=clang++-16")
endif()

set(fuzz_flags -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
  -fno-omit-frame-pointer)
# Warnings are judged by the product's compiler.
target_compile_options(kubelane_flags INTERFACE ${fuzz_flags} -Wno-error)
target_link_options(kubelane_flags INTERFACE -fsanitize=address,undefined)
get_target_property(llhttp_imported kubelane_llhttp IMPORTED)
if(NOT llhttp_imported)
  target_compile_options(kubelane_llhttp PRIVATE ${fuzz_flags})
  # Otherwise llhttp 8 takes any byte for the CR and LF of a chunk, and is no measure for ours.
  target_compile_definitions(kubelane_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
endif()

# Only what a fuzzer links is built.
foreach(layer config tls http observe runtime link relay teleport kube app)
  set_target_properties(kubelane_${layer} PROPERTIES EXCLUDE_FROM_ALL TRUE)
endforeach()

file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*_fuzzer.cpp)
foreach(source ${fuzzers})
  get_filename_component(fuzzer ${source} NAME_WE)
  if(fuzzer MATCHES "^config_")
    set(library kubelane_config)
  elseif(fuzzer MATCHES "^pem_")
    set(library kubelane_tls)
  elseif(fuzzer MATCHES "^(grpc|join)_")
    set(library kubelane_teleport)
  else()
    set(library kubelane_http)
  endif()
  add_executable(${fuzzer} ${source})
  target_link_libraries(${fuzzer} PRIVATE ${library})
  target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer)
endforeach()
