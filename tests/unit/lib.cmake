# The tests of lib/, here and in standalone/, and what each is made of beside the
# library itself, which shows nothing but filelock_*.
set(lib_tests descriptors errors fair filelock forks handover identity lease loaded moments owner
              per_process real_time release replaced signals small_stack soft threads wait_signal whole)
foreach(name IN LISTS lib_tests)
    set(lib_${name}_sources ${CMAKE_CURRENT_LIST_DIR}/lib_${name}.c)
endforeach()
list(APPEND lib_soft_sources ${CMAKE_CURRENT_LIST_DIR}/../../lib/process_stat_linux.c
                             ${CMAKE_CURRENT_LIST_DIR}/../../lib/start_token_linux.c)
