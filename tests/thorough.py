"""Which tests run only when everything does (`./test --all`, as in CI): each takes long. Most repeat what a shorter
one shows, on another server, at more moments, or in the other theme; the others guard what seldom changes.

A name ends where the test's does, or with its parameters.
"""

from __future__ import annotations

from typing import Final

THOROUGH: Final[dict[str, tuple[str, ...]]] = {
    "apps/city/test_city_jobs.py": (
        "test_thirty_days_on_two_workers_are_all_there_and_none_twice_though_one_is_killed",
        "test_ctrl_c_cancels_what_has_not_ended_and_the_same_command_goes_on_from_there",
        "test_the_commands_speak_to_people_too",
        "test_a_scheduled_day_without_data_is_tried_again_later_and_given_up_at_last",
    ),
    "contracts/test_remote_store.py": ("test_a_store_that_refuses_connections_is_told",),
    "contracts/test_store.py": (
        "test_thousands_of_objects_are_listed_whole[azure]",
        "test_thousands_of_objects_are_listed_whole[s3]",
    ),
    "apps/fraud/ensembles/test_unlabelled.py": ("test_an_ensemble_is_a_version_that_scores_the_table",),
    "apps/fraud/test_institutions.py": ("test_no_other_column_of_an_institution_is_taken_for_its_label",),
    "apps/fraud/test_library.py": (
        "test_a_killed_worker_loses_no_reference_and_doubles_none",
        "test_two_workers_build_two_references_side_by_side",
    ),
    "journeys/test_city.py": (
        "test_no_page_keeps_someone_out[dark-viewport1]",
        "test_tiles_of_the_settings_come_from_their_host_and_lie_behind_the_streets",
    ),
    "journeys/test_keeping.py": ("test_no_page_of_models_and_migrations_has_a_barrier[dark-phone]",),
    "journeys/test_labelling.py": ("test_no_page_has_a_barrier[dark-phone]",),
    "journeys/test_main_job.py": ("test_no_page_has_a_barrier[dark-phone]",),
    "journeys/test_plants.py": ("test_no_page_of_images_keeps_someone_out[dark-viewport1]",),
    "journeys/test_unlabelled.py": ("test_no_page_has_a_barrier[dark-phone]",),
    "journeys/test_watching.py": ("test_no_page_has_a_barrier[dark-phone]",),
    "apps/plants/test_audit_commands.py": (
        "test_one_command_makes_a_set_that_is_audited_and_can_be_divided_and_exported",
    ),
    "apps/plants/test_demo.py": (
        "test_a_linear_classifier_of_pixels_fails_where_one_of_learned_features_does_well",
    ),
    "apps/plants/test_distributed.py": (
        "test_a_job_that_is_cancelled_leaves_no_process_behind",
        "test_two_processes_learn_what_one_does",
    ),
    "apps/plants/test_import_jobs.py": (
        "test_an_import_whose_worker_is_killed_is_taken_up_and_leaves_what_one_that_was_not_killed_leaves",
    ),
    "properties/test_store_faults.py": (
        "test_a_verb_ends_whole_or_in_a_clear_error_whichever_request_fails[put_stream, large]",
    ),
    "web/test_api.py": ("test_a_store_that_is_away_is_503_and_nothing_is_recorded",),
    "web/test_watching.py": (
        "test_a_look_whose_worker_is_killed_is_finished_and_a_cancelled_one_ends",
        "test_a_version_that_learned_is_watched_taught_and_trained_again_as_itself",
    ),
    "test_cli.py": ("test_the_doctor_says_which_part_is_away_and_fails",),
    "test_cli_migrate.py": ("test_an_interrupted_run_says_how_to_go_on[15]",),
    "apps/fraud/test_cli_references.py": (
        "test_a_folder_of_tables_becomes_a_library_that_is_listed_measured_and_removed",
    ),
    "test_cli_storage.py": ("test_listing_is_by_pages_by_suffix_and_tells_sizes[file]",),
    "test_deploy.py": ("test_each_role_can_do_its_part_of_the_main_job_and_nothing_beyond",),
    "test_jobs.py": (
        "test_a_stopped_worker_leaves_its_job_to_the_next[sqlite]",
        "test_a_store_that_stays_away_is_told_as_it_is[sqlite]",
        "test_progress_may_be_told_from_another_thread[postgresql]",
        "test_a_job_whose_worker_is_killed_is_finished_by_the_next_and_publishes_once[sqlite]",
    ),
    "test_lambda.py": ("test_the_same_event_twice_leaves_the_same_documents",),
    "test_main_job.py": (
        "test_a_command_goes_on_when_the_worker_it_relied_on_ends",
        "test_two_models_train_side_by_side_on_two_workers",
        "test_a_request_to_finish_outlives_the_worker",
        "test_a_training_whose_worker_is_killed_goes_on_and_is_published_once",
        "test_a_table_becomes_a_model_that_scores_another[embedded]",
    ),
    "test_main_job_faults.py": ("test_the_main_job_loses_nothing_and_does_nothing_twice_under_faults[0.15]",),
    "test_migration_kills.py": (
        "test_a_rollback_killed_at_many_moments_leaves_the_rows_right",
        "test_a_run_outlives_a_server_that_is_killed_and_comes_back",
        "test_a_run_on_folders_killed_at_random_moments_arrives_whole",
        "test_a_run_killed_at_many_moments_copies_nothing_twice_that_had_arrived",
    ),
    "apps/mlflow/test_mlflow.py": (
        "test_a_training_is_done_while_mlflow_is_away_and_exported_once_it_is_back",
        "test_postgresql_and_s3_stand_behind_it",
        "test_the_command_exports_what_failed_too",
        "test_the_model_of_another_owner_keeps_its_name",
        "test_an_export_that_was_killed_goes_on_where_it_was",
    ),
    "test_models.py": ("test_what_skops_cannot_hold_is_told_of_its_model_and_the_rest_goes_on",),
    "test_moving.py": ("test_everything_moves_from_one_postgresql_to_another",),
    "test_servers.py": (
        "test_what_is_stored_and_the_keys_outlast_a_restart",
        "test_the_application_writes_in_its_buckets_and_makes_none",
        "test_a_server_that_dies_is_started_again_even_when_its_leash_was_cut",
        "test_a_killed_parent_leaves_no_server_and_the_next_start_waits_for_the_last",
        "test_an_environment_that_points_elsewhere_is_not_overruled",
    ),
    "test_trouble.py": (
        "test_a_worker_whose_clock_is_a_minute_behind_keeps_its_job[postgresql]",
        "test_a_worker_of_another_machine_with_the_same_name_keeps_its_job[sqlite]",
        "test_a_job_goes_on_where_it_was_through_more_deploys_than_deaths_are_allowed",
        "test_a_full_disk_that_empties_again_leaves_no_job_behind",
    ),
    "test_upkeep.py": ("test_a_worker_that_is_killed_is_replaced_and_the_migration_goes_on",),
}


def is_thorough(module: str, name: str) -> bool:
    """Whether a test, by its module below `tests` and its name with parameters, is one of these."""
    return any(name == known or name.startswith(f"{known}[") for known in THOROUGH.get(module, ()))
