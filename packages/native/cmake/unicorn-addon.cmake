# The kit for addons of the Unicorn Execution Engine. A CMakeLists.txt that `buildAddon` of @unicorn-exec/native starts
# (it says where this module and the headers of Node-API are, so nothing is downloaded) needs no more than
#
#     cmake_minimum_required(VERSION 3.16)
#     project(my_addon CXX)
#     include(unicorn-addon)
#     unicorn_addon(my_addon native/addon.cpp native/device.cpp)
#
# and gets my_addon.node: C++17, <napi.h>, the headers <unicorn/...> and what implements them, threads, warnings, hidden
# symbols. Its targets are ordinary ones: target_compile_options() and the like add to them.
#
#     unicorn_addon(<name> <source>...)   the addon <name>.node
#     unicorn_test(<name> <source>...)    an executable without Node, which only `buildAddon` with that target builds; of
#                                         the headers it has those that include no <napi.h>. A package that ships no
#                                         tests asks if(EXISTS ...) before: it is configured on the user's machine
#
# Everything below also holds for other targets of the same folder. Optimization is -O2 in every build type but Debug;
# UNICORN_SANITIZE is the value of -fsanitize when a build for tests has one.

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

set(UNICORN_NAPI_INCLUDES "" CACHE STRING "include folders of node-addon-api and node-api-headers")
set(UNICORN_SANITIZE "" CACHE STRING "address,undefined or thread, for test builds")
if(UNICORN_SANITIZE)
  add_compile_options(-fsanitize=${UNICORN_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${UNICORN_SANITIZE})
endif()

find_package(Threads REQUIRED)
get_filename_component(UNICORN_NATIVE ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
set(UNICORN_WARNINGS -Wall -Wextra)

# What knows nothing of Node.
add_library(unicorn_core STATIC EXCLUDE_FROM_ALL
  ${UNICORN_NATIVE}/native/background.cpp
  ${UNICORN_NATIVE}/native/failure.cpp
  ${UNICORN_NATIVE}/native/guarded-range.cpp
  ${UNICORN_NATIVE}/native/mapped-file.cpp)
target_include_directories(unicorn_core PUBLIC ${UNICORN_NATIVE}/include)
target_compile_options(unicorn_core PRIVATE ${UNICORN_WARNINGS})
target_link_libraries(unicorn_core PUBLIC Threads::Threads ${CMAKE_DL_LIBS})

# The border to Node.
add_library(unicorn_node STATIC EXCLUDE_FROM_ALL
  ${UNICORN_NATIVE}/native/border.cpp
  ${UNICORN_NATIVE}/native/handle.cpp
  ${UNICORN_NATIVE}/native/job-channel.cpp)
target_include_directories(unicorn_node SYSTEM PUBLIC ${UNICORN_NAPI_INCLUDES})
target_compile_definitions(unicorn_node PUBLIC NAPI_VERSION=8 NAPI_CPP_EXCEPTIONS)
target_compile_options(unicorn_node PRIVATE ${UNICORN_WARNINGS})
target_link_libraries(unicorn_node PUBLIC unicorn_core)

function(unicorn_addon name)
  add_library(${name} MODULE ${ARGN})
  target_compile_definitions(${name} PRIVATE NODE_GYP_MODULE_NAME=${name} BUILDING_NODE_EXTENSION)
  target_compile_options(${name} PRIVATE ${UNICORN_WARNINGS})
  target_link_libraries(${name} PRIVATE unicorn_node)
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".node")
  if(APPLE)
    # Symbols of Node-API are the process's own.
    target_link_options(${name} PRIVATE -undefined dynamic_lookup)
  endif()
endfunction()

function(unicorn_test name)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARGN})
  target_compile_options(${name} PRIVATE ${UNICORN_WARNINGS})
  target_link_libraries(${name} PRIVATE unicorn_core)
endfunction()
