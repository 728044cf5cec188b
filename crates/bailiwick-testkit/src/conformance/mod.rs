//! The suite that every storage back-end passes: what the documentation of
//! [`bailiwick_core::store`] promises, as tests.
//!
//! [`conformance_tests!`](crate::conformance_tests) writes one test for each promise:
//!
//! ```no_run
//! mod sqlite {
//!     bailiwick_testkit::conformance_tests!(bailiwick_testkit::conformance::sqlite());
//! }
//! ```
//!
//! Counters have a suite of their own, by [`counter_conformance_tests!`](crate::counter_conformance_tests).
//!
//! A back-end of your own is a [`Subject`] that opens it on a database that holds the tables of [`migrations`].
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod audit;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod cancel;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod counters;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod directory;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod families;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod keys;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod lists;
mod model;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod org_tokens;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod passwords;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod sessions;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod tokens;
mod world;
#[expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "these are tests, and their names say what they promise"
)]
mod writes;

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

use bailiwick_core::{model::TableDef, store::Store};
use bailiwick_store::{
    OpenOptions,
    refinery::{Migration, Runner},
};

#[doc(hidden)]
pub use self::{
    audit::*, cancel::*, counters::*, directory::*, families::*, keys::*, lists::*, org_tokens::*,
    passwords::*, sessions::*, tokens::*, writes::*,
};
use crate::{audit_keys, databases};

/// The tables that the suite reads and writes beside those of the framework.
pub const TABLES: &[&TableDef] = model::TABLES;

/// The migrations that make [`TABLES`], to be applied as those of an application.
///
/// # Panics
/// Never: the migration's name is well-formed.
pub fn migrations() -> Runner {
    let migration = Migration::unapplied("V1__conformance", model::SCHEMA);
    Runner::new(&[migration.expect("the name of the migration is well-formed")])
}

/// A store to be tested, on a database of its own that is migrated and holds no row.
pub struct Subject {
    open: Box<dyn Fn() -> Opening + Send + Sync>,
    /// What must stay until the test is over: the database.
    _keep: Box<dyn Any + Send + Sync>,
}

type Opening = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send>>;

impl Subject {
    /// A store that `open` opens. It is called more than once: each time it gives another store on the same database.
    /// `keep` is dropped when the test is over.
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static, keep: impl Any + Send + Sync) -> Self
    where
        F: Future<Output = Arc<dyn Store>> + Send + 'static,
    {
        Self { open: Box::new(move || Box::pin(open())), _keep: Box::new(keep) }
    }

    /// The database that `url` names, which is migrated here.
    ///
    /// # Panics
    /// If it cannot be migrated or opened.
    pub async fn at(url: String, keep: impl Any + Send + Sync) -> Self {
        let options = OpenOptions::default();
        let migrated = bailiwick_store::migrate(&url, &options, &migrations(), TABLES).await;
        migrated.unwrap_or_else(|error| panic!("cannot migrate: {error}"));
        let open = move || {
            let (url, options) = (url.clone(), options.clone());
            async move {
                let opened = bailiwick_store::open(&url, &options, audit_keys()).await;
                opened.unwrap_or_else(|error| panic!("cannot open: {error}"))
            }
        };
        Self::new(open, keep)
    }

    /// Opens the store.
    pub async fn open(&self) -> Arc<dyn Store> {
        (self.open)().await
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject")
    }
}

/// SQLite in a fresh temporary directory.
///
/// # Panics
/// If it cannot be migrated.
pub async fn sqlite() -> Option<Subject> {
    let database = databases::fresh_sqlite();
    Some(Subject::at(database.url(), database).await)
}

/// PostgreSQL, on a fresh database; nothing where no server is named (see
/// [`postgres_url`](databases::postgres_url)).
///
/// # Panics
/// If it cannot be migrated, or as [`postgres_url`](databases::postgres_url).
pub async fn postgres() -> Option<Subject> {
    let database = databases::fresh_postgres().await?;
    Some(Subject::at(database.url(), database).await)
}

/// Runs one test of the suite in a runtime of its own.
#[doc(hidden)]
pub fn run<F: Future<Output = ()>>(
    subject: impl Future<Output = Option<Subject>>,
    test: impl FnOnce(Subject) -> F,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    runtime.expect("a test can start threads").block_on(async {
        if let Some(subject) = subject.await {
            test(subject).await;
        }
    });
}

/// Writes the tests of the suite for the store that `subject` gives: an expression of a future of
/// `Option<Subject>`, where nothing means that the store is not there and the test is skipped.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_tests! { @ $subject;
            // lists
            a_list_is_ordered_by_rank_with_nulls_last_and_never_left_to_chance
            text_is_ordered_by_code_points
            filters_compare_as_they_say
            a_search_finds_every_term_in_any_field_whatever_the_case
            a_search_takes_no_character_for_a_pattern
            pages_cover_a_list_and_one_past_the_end_is_missing
            kept_and_counted_numbers_agree_under_concurrent_writes
            a_caller_sees_their_own_rows_only
            // writes
            a_new_row_is_stamped_and_reads_back
            every_value_survives
            a_taken_value_is_a_conflict_within_one_scope_only
            one_of_many_who_take_a_value_at_once_gets_it
            a_reference_is_found_in_scope_only
            an_update_changes_what_it_says_and_counts_the_version
            an_update_of_nothing_changes_nothing
            a_version_that_has_passed_is_stale
            one_of_many_writers_of_a_version_wins
            no_update_is_lost
            an_update_and_a_delete_of_one_version_do_not_both_happen
            rules_on_rows_hold_for_every_write
            missing_comes_before_forbidden_before_stale_before_dangling
            a_deleted_row_is_gone_and_one_that_is_pointed_at_stays
            another_scopes_rows_are_missing_and_stay_as_they_are
            what_was_answered_is_there_for_others
            a_quota_is_exact_however_many_rows_are_added_at_once
            a_deletion_is_recorded_with_it_and_a_refused_one_is_not
            which_keys_are_named_is_told_across_all_scopes
            // cancellation
            a_dropped_write_happens_whole_or_not_at_all
            a_dropped_transaction_happens_whole_or_not_at_all
            requests_dropped_under_load_leave_the_store_as_good_as_new
            // tokens
            a_token_speaks_for_its_owner_until_it_ends
            a_token_is_looked_up_together_with_a_place_in_an_organisation
            a_token_of_a_disabled_user_is_none
            nobody_gets_a_token_for_a_password_that_was_replaced
            a_renewed_hash_ends_nothing_and_replaces_no_other_password
            nobody_gets_a_token_who_is_not_there_or_disabled
            tokens_are_listed_newest_first
            the_oldest_log_in_is_ended_beyond_the_cap
            a_named_token_beyond_the_cap_is_refused
            the_cap_holds_under_parallel_log_ins
            a_token_is_put_in_the_place_of_another
            a_token_is_replaced_once
            a_token_that_is_rotated_while_its_owner_is_disabled_ends
            a_token_is_ended_by_id_by_its_owner_or_by_its_text
            expired_tokens_are_removed_when_one_is_made
            a_new_password_ends_log_ins
            the_last_use_of_a_token_is_noted
            // tokens of organisations
            a_token_of_an_organisation_speaks_for_a_service_there_alone
            nobody_makes_or_replaces_a_token_of_an_organisation_above_their_role
            the_cap_on_tokens_of_an_organisation_holds_however_many_make_them
            a_token_is_never_the_last_owner
            // sessions
            a_session_works_until_it_is_idle_or_old
            sessions_are_listed_and_ended
            an_ended_session_never_comes_back
            who_is_kept_out_or_has_another_password_has_no_session
            the_oldest_session_is_ended_beyond_the_cap
            // families
            a_refresh_token_is_exchanged_once_and_its_parent_gets_the_same_for_a_moment
            one_of_many_parallel_refreshes_wins_and_the_others_get_the_same
            a_token_that_is_used_again_ends_its_family_for_good
            families_end_by_age_and_on_purpose
            who_is_kept_out_or_has_another_password_has_no_family
            access_tokens_of_others_speak_for_a_user_by_name_while_that_user_may_come_in
            access_tokens_speak_for_their_family_until_it_ends
            an_access_token_that_a_repeated_refresh_gives_is_noted
            the_oldest_family_is_ended_beyond_the_cap
            a_use_that_is_noted_late_moves_no_last_use_back
            // keys
            a_ring_changes_from_the_version_that_was_read_only
            one_of_many_who_change_a_ring_at_once_wins
            two_keys_never_sign_at_once
            // passwords
            a_password_is_changed_by_whoever_proved_the_old_one_only
            a_changed_password_ends_all_but_the_session_that_goes_on_under_another_digest
            one_of_many_who_change_a_password_at_once_does
            users_are_found_by_their_address_whatever_its_case
            a_reset_token_sets_a_password_once
            a_reset_token_ends_with_its_time_its_user_and_their_password
            one_of_many_who_use_a_reset_token_at_once_does
            // the audit trail
            a_change_of_the_directory_is_recorded_with_it_and_a_refused_one_is_not
            a_change_of_credentials_is_recorded_with_it_and_a_refused_one_is_not
            what_happens_to_a_token_of_an_organisation_is_in_its_chain
            a_change_of_families_and_keys_is_recorded_with_it
            a_chain_has_no_gap_however_many_append_at_once
            many_who_begin_a_chain_at_once_begin_one
            an_entry_reads_back_as_it_was_appended
            // directory
            user_names_are_unique_and_found_without_regard_to_case
            names_that_nothing_can_have_are_not_found
            users_are_listed_with_their_rights
            an_organisation_is_made_with_its_owner_or_not_at_all
            members_are_put_and_removed
            the_last_owner_stays
            one_owner_is_left_after_all_leave_at_once
            one_owner_is_left_after_all_are_lowered_at_once
            who_leaves_is_pointed_at_no_more
            who_leaves_while_others_point_at_them_is_pointed_at_no_more
        }
    };
    (@ $subject:expr; $($test:ident)+) => {
        $(
            #[test]
            fn $test() {
                $crate::conformance::run($subject, $crate::conformance::$test);
            }
        )+
    };
}
