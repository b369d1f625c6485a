# libautolock.so with this C library, and programs that have the same one: the
# puppet of the scenarios.
set(PROJECT_SOURCE_DIR ${source})
add_subdirectory(${source}/config config)
add_subdirectory(${source}/shim shim)
add_executable(legacy_tool ${source}/tests/demo/legacy_tool.c)
file(GLOB puppet ${source}/tests/support/puppet*.c)
add_executable(puppet ${puppet} glibc_names.c)
target_include_directories(puppet PRIVATE ${source} ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(puppet PRIVATE ${kernel_headers} -include glibc_names.h)
target_compile_definitions(harness PUBLIC
    TEST_LIBRARY="$<TARGET_FILE:autolock_shim>" TEST_BEFORE_LIBRARY=""
    TEST_PRELOAD="$<TARGET_FILE:autolock_shim>" TEST_PUPPET="$<TARGET_FILE:puppet>"
    TEST_LEGACY="$<TARGET_FILE:legacy_tool>")

# Left out is what musl does not have (closefrom, libio), and scenarios in which
# programs take part that have glibc: sh, cat, flock.
set(except_opens what_may_not_be_read_is_not_locked)
set(except_permissions a_reader_that_may_not_make_the_sidecar_passes
                       the_sidecar_has_the_owner_of_the_data
                       the_sidecar_follows_what_root_gives_away
                       an_exclusive_reader_needs_no_permission_to_write)
set(except_ways libio_names system_hands_stdout_on popen_heals_its_number
                popen_for_reading_does_not popen_for_writing_shares_stdout)
set(except_spawn closefrom_and_a_file_that_it_opens closefrom_and_what_the_parent_has_open
                 python_starts_writers)
set(except_references the_flush_of_exit_comes_before_the_end
                      the_flush_of_fclose_comes_before_the_end)
set(except_transparency faulty_rules nothing_is_printed)
set(except_identity a_directory_that_may_not_be_searched_from_the_root)
set(except_mode files_that_change_places copies_that_root_makes_are_for_their_owners
                copies_that_a_user_makes_are_for_others)
set(except_exec leaks_above_two_do_not_keep_it exec_that_fails_changes_nothing
                popen_with_standard_output_on_the_file)
set(except_soft a_rule_that_shares_is_a_fault where_no_marker_can_be_made
                where_the_marker_cannot_be_removed)
set(except_soft_process redirections_of_shells vfork_open_exec children_of_popen_and_spawn
                        a_vforked_child_that_closes_all_before_exec exec_without_proc)
set(except_soft_exit what_streams_had_is_in_the_file_before_the_next_one
                     a_thread_that_has_the_stream_in_hand)

foreach(name IN ITEMS opens permissions handed ways spawn references transparency identity forks exec closing
        mode soft soft_waiting soft_process soft_exit)
    add_executable(test_${name} ${source}/tests/shim/${name}.c)
    target_compile_options(test_${name} PRIVATE ${kernel_headers})
    target_link_libraries(test_${name} PRIVATE harness)
    add_dependencies(test_${name} puppet legacy_tool autolock_shim)
    add_test(NAME ${name} COMMAND test_${name} "it takes programs or functions of glibc"
                                  ${except_${name}})
    set_tests_properties(${name} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
endforeach()
