# Unit tests: one executable per folder of the product, tests/unit/<folder>_*_test.cpp.
# Process tests: the real binary against the lab, tests/behaviour/*_test.cpp.
find_package(GTest REQUIRED)
find_package(ZLIB REQUIRED)  # for the lab's SPDY header blocks
find_package(PkgConfig REQUIRED)
pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2)  # the lab's and the tests' HTTP/2
include(GoogleTest)
find_package(Protobuf REQUIRED)  # messages of the lab's Auth

function(kubelane_unit_tests folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${folder}_*_test.cpp)
  if(sources)
    add_executable(${folder}_unit_tests ${sources})
    target_link_libraries(${folder}_unit_tests PRIVATE kubelane_${folder} GTest::gtest_main)
    gtest_discover_tests(${folder}_unit_tests DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 120)
  endif()
endfunction()
foreach(folder config tls http observe runtime host link relay teleport kube admin cli)
  kubelane_unit_tests(${folder})
endforeach()
# The README's example is a test, too.
target_compile_definitions(config_unit_tests PRIVATE KUBELANE_SOURCE="${CMAKE_SOURCE_DIR}")

# The lab: our stand-in for a Teleport Proxy, written from the specification. It shares no parser
# and no TLS code with the product.
file(GLOB lab_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/lab/*.cpp)
list(FILTER lab_sources EXCLUDE REGEX "/main\\.cpp$")
if(lab_sources)
  # The messages of Teleport's services; the lab's own files, as everything else here.
  file(GLOB lab_protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/lab/proto/*.proto)
  add_library(kubelane_lab_proto STATIC ${lab_protos})
  target_link_libraries(kubelane_lab_proto PUBLIC protobuf::libprotobuf-lite)
  set(lab_generated ${CMAKE_BINARY_DIR}/lab_proto)
  file(MAKE_DIRECTORY ${lab_generated})
  protobuf_generate(TARGET kubelane_lab_proto LANGUAGE cpp IMPORT_DIRS ${CMAKE_SOURCE_DIR}
    PROTOC_OUT_DIR ${lab_generated})
  target_include_directories(kubelane_lab_proto SYSTEM PUBLIC ${lab_generated})
  target_compile_options(kubelane_lab_proto PRIVATE -O2)

  add_library(kubelane_lab STATIC ${lab_sources})
  target_link_libraries(kubelane_lab PUBLIC kubelane_flags Boost::headers OpenSSL::SSL OpenSSL::Crypto Threads::Threads
    ZLIB::ZLIB PkgConfig::NGHTTP2 kubelane_lab_proto)
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/lab/main.cpp)
    add_executable(kubelane-lab tests/lab/main.cpp)
    target_link_libraries(kubelane-lab PRIVATE kubelane_lab)
  endif()
endif()

# Clients, processes and fixtures that tests share.
file(GLOB support_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.cpp)
add_library(kubelane_test_support STATIC ${support_sources})
target_link_libraries(kubelane_test_support PUBLIC kubelane_lab GTest::gtest_main)
target_compile_definitions(kubelane_test_support PUBLIC KUBELANE_BINARY="$<TARGET_FILE:kubelane>")

# The lab itself, through the tests' clients.
file(GLOB lab_test_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/lab_*_test.cpp)
add_executable(lab_unit_tests ${lab_test_sources})
target_link_libraries(lab_unit_tests PRIVATE kubelane_test_support)
gtest_discover_tests(lab_unit_tests DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 120)

file(GLOB behaviour_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/behaviour/*_test.cpp)
if(behaviour_sources)
  add_executable(behaviour_tests ${behaviour_sources})
  target_link_libraries(behaviour_tests PRIVATE kubelane_test_support)
  add_dependencies(behaviour_tests kubelane)
  gtest_discover_tests(behaviour_tests DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endif()

add_test(NAME documented_configurations COMMAND python3
  ${CMAKE_SOURCE_DIR}/tests/documented_configurations_test.py $<TARGET_FILE:kubelane>)
add_test(NAME layering COMMAND python3 ${CMAKE_SOURCE_DIR}/tests/layering_test.py)
add_test(NAME command_line COMMAND python3 ${CMAKE_SOURCE_DIR}/tests/command_line_test.py
  $<TARGET_FILE:kubelane>)
