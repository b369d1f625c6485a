# lib.m32: libfilelock for 32-bit x86, whose programs run on this machine, too. There words
# have 32 bits, system calls have other numbers, and no wait is stepped over
# (lib/flock_call.h). lib.m32_time64: with a time_t of 64 bits, as newer programs have.
#
# With Debian's compiler for it, which agrees with those for other machines, or with this
# one, where gcc-multilib is there.
find_program(I686_GCC i686-linux-gnu-gcc)
if(I686_GCC)
    # Its C library is not where programs look for it.
    execute_process(COMMAND ${I686_GCC} -print-file-name=ld-linux.so.2
                    OUTPUT_VARIABLE loader OUTPUT_STRIP_TRAILING_WHITESPACE)
    cmake_path(GET loader PARENT_PATH libraries)
    set(compiler ${I686_GCC})
    set(flags "")
    set(linking "-Wl,--dynamic-linker=${loader},-rpath,${libraries},--disable-new-dtags")
else()
    set(compiler ${CMAKE_C_COMPILER})
    set(flags -m32)
    set(linking "")
endif()

set(try ${CMAKE_CURRENT_BINARY_DIR}/m32)
file(WRITE ${try}.c "#include <linux/seccomp.h>\n#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n")
execute_process(COMMAND ${compiler} ${flags} ${linking} -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
                        ${try}.c -o ${try}
                RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
if(failed EQUAL 0)
    execute_process(COMMAND ${try} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
endif()
if(failed EQUAL 0)
    foreach(name IN ITEMS lib.m32 lib.m32_time64)
        standalone_test(${name} -DCMAKE_C_COMPILER=${compiler} "-DCMAKE_C_FLAGS=${flags}"
                        "-DCMAKE_EXE_LINKER_FLAGS=${linking}" -DCMAKE_BUILD_TYPE=RelWithDebInfo)
        string(APPEND flags " -D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64")
    endforeach()
else()
    not_here("no compiler for 32-bit x86 (gcc-i686-linux-gnu and libc6-dev-i386-cross, or gcc-multilib), or its programs do not run here"
             lib.m32 lib.m32_time64)
endif()
