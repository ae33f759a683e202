"""Every fault that the runtime is to survive, and the tests that show that it does."""

from __future__ import annotations

from tests.faults.row import Row, of

CAMERA = "runtime/test_live_faults"
CHAIN = "faults/test_camera_to_answer"
NTH = "faults/test_nth_failures"
STREAM = "faults/test_any_stream"
ENGINES = "faults/test_engines"
PLAYED = "runtime/test_live_recording"
OPENING = "runtime/test_open_source"
ENDS = "faults/test_process_ends"
LONG = "faults/test_long_runs"
TIMELINE = "runtime/test_live_timeline"
SESSION = "runtime/test_session_stream"
STATES = "runtime/test_session_states"
RECORDER = "runtime/test_recorder"
FRAME = "runtime/test_frame"
REALSENSE = "runtime/test_realsense"
WORKER = "engines/test_worker_recovery"
LIVES = "engines/test_worker_lifetime"
WRITING = "engines/test_llama_writing"
MAPS = "runtime/test_session_map"
HOST = "runtime/test_tracking_host"
VISUAL = "runtime/test_tracking_visual"
VIEWER = "runtime/test_session_viewer"
SEVEN = "runtime/test_seven_scenes"
SIDECAR = "engines/test_tensorrt_sidecar"
CONFIG = "runtime/test_config"
LIFT = "runtime/test_lift"
GGUF = "engines/test_gguf_file"
GRAPH = "engines/test_graph_file"
VOUCH = "engines/test_vouch"
TRACKERS = "conformance/test_trackers"
REASONERS = "conformance/test_reasoners"
SEGMENTERS = "conformance/test_segmenters"
CLIENT = "engines/test_openai_connection"
BAG = "runtime/test_ros_damage"
KEYFRAMES = "runtime/test_keyframes"
WRITTEN = "runtime/test_recorder_file"
TUM = "runtime/test_tum"
ANSWERS = "engines/test_answer_format"
PARSER = "engines/test_answer_format_parse"

ROWS = (
    Row(
        1,
        "camera unplugged mid-stream",
        of(CHAIN, "an_unplugged_camera_degrades_the_session_which_answers_on_and_runs_again_when_it_is_back")
        + of(CAMERA, "after_a_fault_the_same_loop_goes_on_with_the_next_index_and_a_later_time")
        + of(CAMERA, "a_camera_that_stays_away_is_lost_and_comes_back_all_the_same")
        + of("runtime/test_live_realsense", "a_camera_that_is_unplugged_says_so_at_once")
        + of(STATES, "a_camera_that_is_gone_degrades_the_session_until_it_is_back")
        + of(SESSION, "an_answer_says_how_old_the_newest_frame_and_its_evidence_are"),
    ),
    Row(
        2,
        "plugged in again: another serial, another resolution",
        of(CHAIN, "another_camera_in_its_place_keeps_the_session_degraded_until_the_same_one_is_back")
        + of(CAMERA, "another_camera_in_its_place_is_refused_until_the_same_one_is_back")
        + of(CAMERA, "a_camera_that_comes_back_with_another_resolution_is_read_anew")
        + of(VISUAL, "a_camera_of_another_size_in_the_middle_gives_right_poses_or_none"),
    ),
    Row(
        3,
        "stalled stream, the last frame again and again",
        of(CHAIN, "a_frame_that_is_given_again_or_goes_stale_never_becomes_a_keyframe_twice")
        + of(CAMERA, "a_repeated_frame_is_handed_out_once_and_counted")
        + of(CAMERA, "a_frame_too_old_is_stale_while_the_camera_runs")
        + of(CAMERA, "the_newest_frame_of_a_lost_camera_is_refused_with_the_reason")
        + of(KEYFRAMES, "a_stalled_camera_inserts_its_last_picture_once"),
    ),
    Row(
        4,
        "consumer too slow",
        of(CHAIN, "a_session_ten_times_too_slow_loses_the_oldest_frames_counted_and_holds_no_more")
        + of(CAMERA, "a_flood_drops_the_oldest_and_counts_each")
        + of(CHAIN, "no_frame_is_a_view_of_the_ring_that_the_camera_writes_to")
        + of("runtime/test_live_ring", "it_is_a_queue_that_drops_its_oldest")
        + of(RECORDER, "a_process_that_is_held_up_costs_frames_and_never_time")
        + of(VIEWER, "a_viewer_that_is_slow_drops_the_oldest_and_counts_it"),
    ),
    Row(
        5,
        "clock jumps an hour, goes backwards, changes its domain",
        of(CHAIN, "a_clock_that_jumps_an_hour_leaves_the_stream_of_time_and_the_answers_as_they_are")
        + of(TIMELINE, "whatever_a_camera_says_time_goes_forward_and_every_frame_is_counted")
        + of(
            TIMELINE,
            "a_change_of_domain_begins_a_segment_at_once",
            "a_jump_that_lasts_costs_one_frame_and_begins_a_segment",
        )
        + of(CAMERA, "one_frame_with_an_impossible_time_is_left_out")
        + of(STREAM, "whatever_comes_the_map_is_whole_and_every_frame_is_counted_once")
        + of(SESSION, "frames_that_repeat_or_go_back_in_time_are_left_out_and_counted"),
    ),
    Row(
        6,
        "colour and depth that are no pair; one stream missing",
        of("runtime/test_live_realsense", "an_image_without_its_partner_is_left_out_and_counted")
        + of(REALSENSE, "equal_numbers_taken_at_different_times_are_no_pair")
        + of(REALSENSE, "each_image_is_used_once_and_the_rest_is_counted")
        + of(REALSENSE, "a_recording_without_one_of_the_streams_is_refused")
        + of(TUM, "images_without_a_partner_are_left_out_and_noted"),
        not_applicable="a colour image without depth is no frame here: it is left out and counted, not used for 2D",
    ),
    Row(
        7,
        "depth all 0, all 65535, NaN, infinite, negative",
        of(STREAM, "without_any_depth_there_is_no_keyframe_no_box_and_no_warning")
        + of(STREAM, "depth_that_goes_away_leaves_the_keyframes_and_their_answer")
        + of(FRAME, "metres_become_counts_and_what_is_no_depth_becomes_zero", "no_return_is_zero_metres")
        + of("runtime/test_locate", "no_depth_at_all_is_not_found_and_never_a_box")
        + of("runtime/test_ask", "boxes_that_show_nothing_solid_are_not_found")
        + of(LIFT, "without_depth_in_the_masks_there_is_no_box_and_no_warning"),
    ),
    Row(
        8,
        "images of another dtype or shape, not contiguous, empty, BGR",
        of(
            FRAME,
            "an_array_of_any_other_shape_or_dtype_is_a_value_error",
            "a_bad_frame_is_refused_saying_which_and_what",
        )
        + of(FRAME, "contiguous_arrays_are_held_and_others_copied_once")
        + of("runtime/test_live_ring", "images_of_another_size_or_type_are_refused_and_leave_the_ring_as_it_was")
        + of(REALSENSE, "colour_channels_end_in_the_order_red_green_blue")
        + of("engines/test_view", "a_view_that_does_not_fit_its_camera_is_refused"),
        not_applicable="no array says whether it is BGR: each source puts its channels in order, which is tested there",
    ),
    Row(
        9,
        "depth scale 0, negative, NaN, 1e-4",
        of(FRAME, "a_bad_frame_is_refused_saying_which_and_what", "any_camera_s_depth_scale_is_honoured")
        + of(REALSENSE, "float32_depth_units_and_millisecond_floats_come_back_as_they_were_meant"),
    ),
    Row(
        10,
        "intrinsics that cannot be, of another size, of an unknown lens",
        of("engines/test_intrinsics", "a_bad_field_is_refused_by_its_name", "coefficients_without_a_model_are_refused")
        + of("runtime/test_ros_parts", "a_lens_or_a_size_that_is_not_read_is_refused_by_topic")
        + of("runtime/test_scannet_export", "images_made_smaller_than_their_intrinsics_are_refused")
        + of(SEVEN, "a_hostile_camera_file_is_refused_with_the_key_at_fault")
        + of(REALSENSE, "a_grey_colour_stream_and_a_fisheye_are_refused_by_name"),
    ),
    Row(
        11,
        "poses that are NaN, not orthonormal, mirrored, scaled, None",
        of("runtime/test_pose", "what_is_not_a_rigid_transform_is_refused_by_name")
        + of("runtime/test_pose", "rounding_is_repaired_and_the_pose_hardly_moved")
        + of(STREAM, "whatever_comes_the_map_is_whole_and_every_frame_is_counted_once")
        + of(STATES, "a_lost_pose_degrades_the_session_and_questions_are_still_answered")
        + of(KEYFRAMES, "frames_without_a_pose_are_counted_and_left_out")
        + of(TRACKERS, "what_cannot_be_placed_is_lost_and_the_known_place_is_found_again"),
    ),
    Row(
        12,
        "the pose jumps, the host relocalises",
        of(STREAM, "a_jump_of_the_pose_gives_up_what_was_seen_before_it_and_nothing_is_fused_across")
        + of(HOST, "a_jump_begins_a_new_segment_with_a_new_revision")
        + of(MAPS, "a_keyframe_whose_anchor_is_gone_is_given_up")
        + of(MAPS, "a_question_amid_a_correction_finds_every_keyframe_in_the_new_map")
        + of(VISUAL, "a_cut_to_another_known_place_is_relocalised_at_once_and_never_followed"),
        not_applicable="points of an old segment are not kept: where it lies in the new world nobody knows, so its "
        "keyframes are given up and counted",
    ),
    Row(
        13,
        "recordings cut off, empty, of another kind, in a loop of links, with lengths that lie",
        of(REALSENSE, "a_cut_recording_gives_the_frames_before_the_cut_and_then_says_so")
        + of(REALSENSE, "a_damaged_recording_never_hangs_and_never_raises_anything_but_bad_recording")
        + of(SEVEN, "a_png_cut_anywhere_is_never_a_picture")
        + of(SEVEN, "a_file_that_is_none_ends_the_reading_after_the_good_prefix")
        + of("runtime/test_stray_scanner", "a_video_cut_short_anywhere_is_a_fault_of_the_video")
        + of(TUM, "a_symlink_loop_is_a_fault_of_its_frame")
        + of(BAG, "an_image_that_claims_a_hostile_size_reserves_no_memory")
        + of(WRITTEN, "cut_anywhere_it_gives_the_frames_before_the_cut")
        + of(NTH, "a_source_that_breaks_at_its_nth_frame_leaves_those_before_it_and_the_next_source_goes_on")
        + of(PLAYED, "a_damaged_recording_gives_what_is_whole_then_its_error_and_can_be_played_again"),
    ),
    Row(
        14,
        "GGUF files made by hand; the vision tower of another model",
        of(GGUF, "a_bad_file_is_one_typed_error_that_names_it")
        + of(GGUF, "a_damaged_file_is_refused_or_sound_for_llama_cpp_too")
        + of(VOUCH, "swapped_files_are_called_swapped", "a_changed_byte_is_found")
        + of(VOUCH, "a_vision_tower_of_another_models_width_is_refused")
        + of(WORKER, "an_abort_is_an_error_of_the_question_and_its_keyframes_come_back")
        + of(LIVES, "what_opening_raises_is_raised_and_an_abort_in_it_too"),
    ),
    Row(
        15,
        "ONNX files with weights elsewhere, giant tensors, custom operators, other names",
        of(GRAPH, "weights_in_another_file_are_refused_wherever_it_is")
        + of(GRAPH, "a_tensor_that_claims_what_the_file_does_not_hold_is_refused")
        + of(GRAPH, "what_our_exports_never_have_is_refused")
        + of("engines/test_sam2_folder", "weights_outside_of_the_graph_are_refused")
        + of("engines/test_onnx_module", "a_file_with_other_names_than_its_manifest_is_refused"),
    ),
    Row(
        16,
        "TensorRT engines of another GPU or version, or cut off",
        of(SIDECAR, "a_stale_engine_is_refused_with_the_command_that_builds_it")
        + of(SIDECAR, "an_engine_cut_or_changed_in_any_byte_is_refused")
        + of("engines/test_tensorrt_module", "an_engine_that_is_stale_truncated_or_missing_never_reaches_tensorrt")
        + of("runtime/test_sam2_locate", "auto_goes_on_to_the_next_backend_and_says_why_and_a_named_one_is_not_left"),
    ),
    Row(
        17,
        "paths that lead out: names of scenes, members, files, outputs",
        of(TUM, "a_name_that_leads_out_of_the_recording_is_refused")
        + of("engines/test_manifest", "a_file_is_a_plain_name_of_the_folder")
        + of(VOUCH, "a_link_out_of_the_folder_is_refused_and_one_inside_is_followed")
        + of("export/test_converter", "only_the_converter_comes_out_of_a_source_distribution")
        + of("benchmarks/test_dataset_files", "a_field_of_the_wrong_kind_names_file_entry_and_key")
        + of(RECORDER, "a_place_that_cannot_be_is_said_at_the_start")
        + of(CONFIG, "a_name_that_no_file_can_have_is_refused"),
        not_applicable="a question has no id that comes from outside: its folder is its number",
    ),
    Row(
        18,
        "a network face: no authentication, giant bodies, slow clients, deep JSON",
        not_applicable="nothing here listens on a network. What asks a server is shown in row 30 and by "
        "tests/engines/test_openai_connection.py",
    ),
    Row(
        19,
        "pictures and archives that unpack to gigabytes",
        of(SEVEN, "an_image_bomb_is_refused_before_it_is_decoded")
        + of("runtime/test_scannet", "a_small_file_that_inflates_to_much_takes_little_memory")
        + of(BAG, "a_decompression_bomb_stops_at_its_limit")
        + of(CLIENT, "a_gigabyte_is_not_read", "a_packed_answer_is_not_unpacked"),
    ),
    Row(
        20,
        "no memory: at the n-th allocation, on the GPU, a child that is killed for it",
        of(NTH, "no_memory_at_the_nth_call_of_a_step_is_a_typed_error_and_the_map_is_never_half_updated")
        + of(NTH, "no_memory_while_a_candidate_is_settled_fails_the_question_alone")
        + of(NTH, "no_memory_for_an_answer_is_a_typed_error_and_the_next_question_is_answered")
        + of(NTH, "a_tracker_whose_nth_call_of_a_stage_fails_says_a_right_pose_or_none_ever_after")
        + of(NTH, "an_engine_that_fails_at_its_nth_call_costs_at_most_that_question")
        + of("engines/test_sam2_tracker", "a_device_without_room_is_asked_once_more_with_half_the_memories")
        + of("engines/test_onnx_module", "where_memory_runs_out_it_is_said_so_and_the_module_lives_on")
        + of(CAMERA, "a_capturing_process_that_is_killed_or_stopped_is_replaced")
        + of(SESSION, "the_memory_keeps_its_cap_and_what_it_refuses_is_counted"),
        later="a question that found no memory is not put again with fewer keyframes: it ends with BudgetExceeded",
    ),
    Row(
        21,
        "disk full, read-only, slow",
        of(RECORDER, "a_full_disk_ends_the_recording_and_nothing_else")
        + of(RECORDER, "a_process_that_is_held_up_costs_frames_and_never_time")
        + of(WRITTEN, "a_disk_that_is_full_at_the_nth_write_leaves_all_chunks_before_it")
        + of(STATES, "a_recorder_that_has_failed_degrades_the_session_and_the_stream_goes_on")
        + of(SEVEN, "a_disk_that_refuses_the_nth_write_leaves_nothing")
        + of("runtime/test_files", "an_error_while_writing_leaves_the_old_file_and_nothing_else")
        + of("engines/test_llama_cache", "a_full_disk_costs_the_cache_and_not_the_answer"),
    ),
    Row(
        22,
        "SIGTERM, SIGINT once and twice, SIGKILL",
        of("runtime/test_live_cli", "a_signal_lets_the_camera_go_ends_the_recording_and_leaves_no_process")
        + of(ENDS, "a_signal_while_the_model_loads_ends_it_and_leaves_no_process_and_no_file")
        + of(ENDS, "what_is_killed_leaves_no_process_and_a_recording_to_be_read_and_the_next_start_is_as_the_first")
        + of(CAMERA, "the_capturing_process_dies_with_its_caller")
        + of(RECORDER, "the_file_is_ended_well_when_its_caller_is_killed")
        + of("runtime/test_commands", "a_run_that_is_stopped_removes_what_it_had_begun")
        + of("engines/test_llama_cache", "what_a_power_cut_left_half_written_is_swept_away_later")
        + of(LIVES, "a_killed_caller_takes_its_busy_worker_with_it"),
    ),
    Row(
        23,
        "the model never ends its thinking",
        of(WRITING, "the_thinking_ends_with_its_budget_and_does_not_count_towards_the_confidence")
        + of(ANSWERS, "thinking_out_of_budget_is_closed_once_and_said_so", "thinking_leaves_the_answer_its_tokens")
        + of("engines/test_llama_reasoner", "thinking_is_switched_off_or_closed_for_the_model"),
    ),
    Row(
        24,
        "the model rambles, repeats itself, says nothing",
        of(WRITING, "max_tokens_bounds_all_that_the_model_writes")
        + of(ANSWERS, "an_answer_that_was_cut_short_is_truncated_and_has_no_value")
        + of("engines/test_answer_format_grammar", "free_words_are_no_longer_than_their_bound")
        + of("engines/test_openai_bad_answers", "no_words_or_as_many_as_there_is_room_for_are_truncated")
        + of(REASONERS, "one_token_is_too_few_for_any_answer"),
        later="repetition itself is not looked for: tokens, the grammar and the clock bound it",
    ),
    Row(
        25,
        "answers that are malformed in every way",
        of(PARSER, "every_text_is_a_verdict_or_a_bad_answer", "what_is_no_box_of_the_picture_is_refused")
        + of("engines/test_openai_bad_answers", "any_body_is_a_completion_or_a_bad_answer")
        + of("runtime/test_ask", "a_box_beyond_the_picture_is_a_fault_of_the_model_and_not_of_the_caller")
        + of(REASONERS, "an_id_that_is_not_held_is_refused"),
    ),
    Row(
        26,
        "control tokens in the question or in what is seen",
        of(WRITING, "special_tokens_in_outside_text_are_read_as_the_words_they_are")
        + of(ANSWERS, "no_special_token_survives_being_neutralised")
        + of("engines/test_llama_reasoner", "a_question_with_special_tokens_in_it_has_no_more_of_them_than_a_plain_one")
        + of("runtime/test_rrd", "the_report_shows_what_a_model_wrote_and_does_not_obey_it"),
    ),
    Row(
        27,
        "masks that are empty, full, of one pixel, of another size",
        of(LIFT, "masks_of_whole_images_are_no_crash", "a_mask_that_is_not_of_the_image_is_refused")
        + of("engines/test_depth_cut", "where_nothing_stands_out_the_mask_is_empty_and_the_score_0")
        + of("engines/test_view", "masks_of_another_shape_are_refused")
        + of("engines/test_sam2_prompts", "a_mask_of_one_pixel_anywhere_can_be_outlined")
        + of(SEGMENTERS, "a_score_is_zero_exactly_where_the_mask_is_empty"),
        later="a mask of the whole picture has no flag of its own: its box has a low confidence, or none comes of it",
    ),
    Row(
        28,
        "masks over no depth, pixels that fly between two surfaces",
        of(LIFT, "without_depth_in_the_masks_there_is_no_box_and_no_warning")
        + of(LIFT, "stray_depths_on_the_object_do_not_widen_the_box")
        + of("runtime/test_denoise", "what_flies_between_two_surfaces_becomes_a_hole_and_a_thin_thing_does_not"),
    ),
    Row(
        29,
        "a question before any keyframe, after the end, two at once",
        of(STATES, "a_question_before_the_first_keyframe_is_not_ready")
        + of(STATES, "a_session_goes_from_created_to_closed_and_each_misuse_is_a_bad_state")
        + of(SESSION, "one_question_waits_and_the_next_is_told_so")
        + of(SESSION, "a_question_that_waits_ends_at_its_deadline_and_when_it_is_cancelled")
        + of(REASONERS, "without_keyframes_it_is_not_ready"),
    ),
    Row(
        30,
        "an engine that never returns",
        of(ENGINES, "an_engine_that_never_returns_ends_with_its_budget_and_the_next_question_is_answered")
        + of(ENGINES, "an_engine_that_dies_at_work_fails_its_question_and_has_its_keyframes_again_for_the_next")
        + of(WORKER, "a_question_that_never_comes_back_costs_the_worker_behind_the_callers_back")
        + of(WORKER, "settling_that_never_ends_costs_the_worker")
        + of(CLIENT, "closing_ends_a_request_that_another_thread_waits_for")
        + of(SESSION, "closing_ends_the_source_that_runs_and_the_question_that_is_asked"),
    ),
    Row(
        31,
        "a thread dies in silence",
        of(CHAIN, "what_breaks_in_the_watching_thread_of_a_camera_reaches_the_session")
        + of(CHAIN, "an_error_of_no_kind_of_ours_in_a_source_is_raised_as_it_is_and_degrades_the_session")
        + of(CHAIN, "a_source_that_is_closed_under_a_session_ends_its_run_with_an_error_that_says_so")
        + of(STATES, "what_ends_the_thread_that_tells_the_reasoner_is_said_by_the_state_and_the_next_question")
        + of(OPENING, "an_exception_of_the_thread_surfaces_after_the_items_before_it_and_keeps_its_cause")
        + of(VIEWER, "a_viewer_that_breaks_is_said_once_and_stops_nothing_else"),
    ),
    Row(
        32,
        "the machine is throttled to half its speed",
        of(CHAIN, "a_session_ten_times_too_slow_loses_the_oldest_frames_counted_and_holds_no_more")
        + of(KEYFRAMES, "a_budget_of_swaps_is_kept_to_over_a_long_stream"),
        later="frames are dropped and counted and nothing queues up; resolution and keyframe rate are not lowered",
    ),
    Row(
        33,
        "settings that are unknown, of another type, in conflict, huge",
        of(CONFIG, "an_unknown_name_is_refused_with_its_line_and_the_nearest_known_one")
        + of(CONFIG, "values_that_are_impossible_or_contradict_each_other_are_refused")
        + of(CONFIG, "a_byte_order_mark_and_windows_line_ends_are_no_fault")
        + of(CONFIG, "a_file_of_gigabytes_is_refused_without_reading_it")
        + of(CONFIG, "whatever_a_file_holds_it_is_a_config_or_one_typed_error"),
    ),
    Row(
        34,
        "an optional package is missing",
        of("runtime/test_cli", "the_core_imports_without_any_extra_and_without_anything_heavy")
        + of("runtime/test_live_realsense", "without_librealsense_it_says_which_extra_to_install")
        + of(HOST, "without_its_library_the_cuvslam_tracker_names_the_extra")
        + of(RECORDER, "without_its_package_it_says_which_extra_and_leaves_no_file")
        + of(VIEWER, "without_rerun_the_extra_is_named")
        + of("engines/test_tensorrt_module", "without_tensorrt_the_extra_and_the_jetson_package_are_named")
        + of("engines/test_onnx_module", "without_onnxruntime_it_is_said_what_to_install"),
    ),
    Row(
        35,
        "hours: frames, questions, opening and closing",
        of(LONG, "hundreds_of_sessions_opened_and_closed_leave_nothing_behind")
        + of(LONG, "frames_by_the_thousand_and_questions_between_them_hold_memory_descriptors_and_threads_as_they_are")
        + of(CAMERA, "opening_closing_and_losing_cameras_leaves_nothing_behind")
        + of(RECORDER, "nothing_is_left_behind_by_many_recordings")
        + of("benchmarks/test_live_benchmarks", "stream_and_soak_hand_over_every_key"),
        not_applicable="the hour itself is the soak benchmark's: scene-r1's own figures are in docs/benchmarks.md",
    ),
    Row(
        36,
        "conformance of every source, tracker, segmenter and reasoner",
        of("conformance/test_frame_sources", "frames_after_close_is_refused_at_once", "two_openings_give_the_same")
        + of(SEGMENTERS, "closing_twice_is_fine", "the_same_call_gives_the_same_masks")
        + of(SEGMENTERS, "no_prompts_give_no_masks")
        + of(REASONERS, "closing_twice_is_fine_and_afterwards_every_call_is_an_error")
        + of(REASONERS, "a_question_that_is_late_or_cancelled_ends_so_and_the_next_one_does_not")
        + of(TRACKERS, "closing_twice_is_fine_and_tracking_afterwards_is_refused")
        + of(TRACKERS, "two_trackers_tell_the_same_of_the_same_frames_to_the_bit"),
    ),
)
