//! What every backend must do: each case runs on an empty store of each backend.
//!
//! The cases are functions over a store, one file for each aggregate. A new case is
//! named in `cases!`, a new backend in `backends!`.

mod alert_kills;
mod alerts;
mod api_tokens;
mod bulk;
mod deliveries;
mod displaced_hosts;
mod event_pages;
mod events;
mod fixtures;
mod groups;
mod history;
mod identities;
mod keys;
mod kills;
mod lives;
#[cfg(feature = "mongodb")]
mod mongodb_databases;
mod random_lives;
mod scopes;
mod servers;
mod settings;
mod states;
mod sweeps;
mod tags;
mod told_lives;
mod traffic;
mod users;

use super::embedded::Embedded;
use super::{HistorySettings, Store};

pub(crate) use event_pages::follow_past_an_unknown_event;
pub(crate) use fixtures::{DELETE_AFTER_MINUTES, act, beat, servers, spooled, sweep};
#[cfg(feature = "mongodb")]
use mongodb_databases::{FollowedMongoDb, variable};

/// One line for each backend: its name, and an expression that opens an empty store in a
/// temporary folder.
macro_rules! backends {
    ($($(#[$attribute:meta])* $name:ident: $open:expr;)+) => { $(
        $(#[$attribute])*
        mod $name {
            use super::*;
            cases!($open);
        }
    )+ };
}

/// One line for each case, under the file that has it.
macro_rules! cases {
    ($open:expr) => {
        cases!($open; servers:
            a_first_heartbeat_makes_a_server,
            a_later_heartbeat_keeps_identity_and_flags,
            a_spooled_heartbeat_counts_only_if_newer,
            a_host_whose_clock_is_ahead_changes_no_newer_state,
            sending_a_batch_twice_changes_nothing,
            addresses_of_both_families_are_sorted,
            a_patch_sets_only_its_flags,
            names_come_back_as_sent,
            the_revision_moves_with_what_is_shown,
            flags_and_heartbeats_race_without_loss,
            a_host_is_up_since_it_was_down_last,
        );
        cases!($open; sweeps:
            a_sweep_marks_and_deletes,
            what_a_clock_has_aged_is_not_deleted,
            a_heartbeat_of_the_future_counts_as_of_now,
            many_hosts_are_deleted_only_with_a_word_of_the_operator,
            the_flags_of_a_deleted_host_wait_for_its_return,
        );
        cases!($open; identities:
            a_host_that_is_installed_again_keeps_its_record,
            a_host_with_another_address_keeps_its_record,
            a_silent_hosts_address_goes_to_another_host_and_its_flags_wait,
            a_restarted_host_with_another_address_gets_its_record_back,
            each_flag_that_was_set_last_on_either_record_of_a_host_counts,
            a_clone_has_a_record_of_its_own,
            a_link_that_flaps_moves_a_host_once,
            two_hosts_exchange_their_addresses,
            three_hosts_exchange_their_addresses,
            a_new_host_on_an_address_that_was_given_up_costs_no_flags,
            hosts_that_take_turns_at_an_address_share_a_record,
            a_spooled_heartbeat_belongs_to_its_agents_record,
            an_agent_that_learns_its_id_keeps_its_record,
            an_address_is_confirmed_by_the_connection,
        );
        cases!($open; displaced_hosts:
            two_hosts_that_boot_exchange_their_addresses,
            three_hosts_that_boot_exchange_their_addresses,
            a_host_that_boots_on_a_living_hosts_address_speaks_in_its_own_record,
            a_host_that_returns_in_another_hosts_place_has_its_own_flags,
            a_host_that_boots_again_and_again_elsewhere_keeps_what_was_set_meanwhile,
            a_host_keeps_what_was_set_while_it_had_two_records,
            a_host_leaves_its_record_to_a_host_without_an_id,
        );
        cases!($open; random_lives:
            after_any_life_each_host_is_in_its_own_record_with_its_flags,
        );
        cases!($open; tags:
            a_patch_sets_and_removes_its_tags,
            a_host_takes_no_more_tags_than_it_may_have,
            an_agents_tags_are_those_of_its_newest_heartbeat,
            tags_of_both_writers_race_without_loss,
            the_tags_of_a_deleted_host_wait_for_its_return,
            each_tag_that_was_set_last_on_either_record_of_a_host_counts,
            a_changed_tag_is_told_with_who_changed_it,
        );
        cases!($open; states:
            a_state_is_set_as_a_whole_and_stays_as_it_was_set,
            a_state_and_heartbeats_race_without_loss,
            the_state_of_a_deleted_host_waits_for_its_return,
            the_state_that_was_set_last_on_either_record_of_a_host_counts,
            a_state_that_changes_is_told_with_who_has_set_it,
        );
        cases!($open; settings:
            a_patch_sets_and_removes_its_settings,
            the_settings_of_a_deleted_host_wait_for_its_return,
            each_setting_that_was_set_last_on_either_record_of_a_host_counts,
            a_changed_setting_is_told_with_who_changed_it,
        );
        cases!($open; bulk:
            each_chunk_is_set_as_a_whole_and_told_once,
            a_host_that_cannot_be_set_costs_no_other,
            many_hosts_and_heartbeats_and_other_admins_race_without_loss,
        );
        cases!($open; scopes:
            a_change_is_judged_by_the_record_in_the_store,
            of_two_changes_that_would_give_a_host_away_together_one_is_made,
        );
        cases!($open; events:
            what_happens_to_a_host_is_told_once,
            what_people_do_is_told_with_who_did_it,
            what_is_found_out_about_identities_is_told,
            a_deleted_host_is_told_and_found,
            a_host_that_somebody_removes_leaves_nothing,
            many_hosts_that_go_down_together_are_one_mass,
        );
        cases!($open; event_pages:
            pages_follow_each_other_whatever_the_clock_says,
            events_of_some_hosts_are_followed_without_those_of_others,
            a_reader_that_follows_misses_nothing_of_eight_writers,
            old_events_are_deleted_in_service_time,
            too_many_events_of_a_class_push_out_no_other,
        );
        cases!($open; lives:
            turns_are_told_with_the_last_one_before,
            a_new_host_at_an_old_address_has_a_life_of_its_own,
        );
        cases!($open; history:
            every_heartbeat_is_shown_once_before_and_after_a_merge,
            a_day_is_over_at_midnight_in_utc,
            a_removed_host_takes_its_history_along,
            a_host_that_moves_keeps_its_history,
            a_spool_of_days_is_kept_whole,
            a_spool_of_thousands_waits_whole,
            a_host_that_sends_each_second_loses_nothing,
        );
        cases!($open; traffic:
            traffic_is_the_same_before_and_after_a_merge,
            what_flows_over_midnight_is_counted_once,
            every_day_before_counts_merged_or_not,
            each_host_has_its_own_traffic,
            traffic_goes_with_its_host_and_moves_with_it,
        );
        cases!($open; groups:
            samples_of_groups_are_kept_before_and_after_a_merge,
            groups_are_in_no_list_of_hosts,
        );
        cases!($open; keys:
            codes_are_kept_and_removed,
            a_code_enrols_no_more_hosts_than_it_may,
            the_same_enrolment_again_changes_nothing,
            a_key_follows_when_it_is_used,
            a_revoked_key_closes_its_record_until_a_code_enrols_the_host,
            a_host_with_a_key_is_heard_by_that_key_alone,
            a_batch_is_judged_by_element,
            a_host_that_gets_a_key_keeps_its_record,
            a_new_host_begins_with_the_flags_of_its_code,
            a_host_with_a_key_moves_with_its_record,
            one_stolen_key_reaches_its_own_host_alone,
            a_removed_host_is_refused_until_somebody_readmits_it,
            a_readmitted_host_needs_no_code,
            of_two_keys_of_one_host_one_has_a_use,
            changes_of_keys_are_followed,
            what_is_done_with_keys_is_told,
        );
        cases!($open; alerts:
            rules_and_mutes_are_kept_with_their_versions,
            of_many_who_change_a_rule_at_once_one_is_first,
            alerts_come_back_as_they_were_written,
            a_slice_of_hundreds_is_told_once,
            alerts_are_listed_from_the_newest,
            old_alerts_are_deleted_in_service_time,
            what_the_engine_remembers_can_be_read_by_others,
        );
        cases!($open; deliveries:
            a_message_is_the_same_at_each_attempt,
            what_was_being_sent_waits_again,
            a_message_that_was_not_tried_can_be_changed,
            a_digest_takes_the_place_of_others,
            a_message_that_was_given_up_is_tried_again_or_dismissed,
            deliveries_are_listed_from_the_newest,
            messages_stay_as_long_as_their_alerts,
            messages_are_counted_by_state,
        );
        cases!($open; users:
            users_are_kept,
            a_password_is_changed_by_whoever_has_proven_the_one_that_counts,
            a_user_is_found_by_any_spelling_of_the_name,
            a_scope_is_kept_and_told,
            the_last_superadmin_stays,
            the_last_superadmin_without_a_scope_stays,
            of_two_superadmins_who_get_a_scope_at_once_one_stays_without,
            two_superadmins_cannot_demote_each_other,
            a_second_factor_counts_from_its_first_code,
            of_many_who_show_one_code_one_is_let_in,
        );
        cases!($open; api_tokens:
            tokens_are_kept_until_they_are_revoked,
            tokens_go_with_their_user,
        );
    };
    ($open:expr; $file:ident: $($case:ident,)+) => { $(
        #[test]
        fn $case() {
            let folder = tempfile::tempdir().unwrap();
            let open: fn(&std::path::Path) -> Box<dyn Opened> = $open;
            super::$file::$case(open(folder.path()).store());
        }
    )+ };
}

backends! {
    embedded: |folder| {
        let (store, history) = (Embedded::open(folder), HistorySettings::default());
        Box::new(store.unwrap().with_history(folder, &history).unwrap())
    };
    #[cfg(feature = "mongodb")]
    mongodb: |_| Box::new(FollowedMongoDb::open(&variable("REDIS_URL")));
}

/// A store for one test, with what has to be cleared away behind it.
trait Opened {
    fn store(&self) -> &dyn Store;
}

impl Opened for Embedded {
    fn store(&self) -> &dyn Store {
        self
    }
}

#[cfg(feature = "mongodb")]
impl Opened for FollowedMongoDb {
    fn store(&self) -> &dyn Store {
        &self.opened.store
    }
}
