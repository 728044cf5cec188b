//! Findings about how much one caller may have.
use bailiwick::units::{ByteSize, Rate};

use super::{Found, Subject};
use crate::config;

pub(super) fn throttle_off(subject: &Subject<'_>, found: &mut Found) {
    if !subject.settings.throttle.enabled {
        found.error_in_production(
            "throttle.enabled",
            "nobody is throttled, so passwords can be guessed without end",
            "remove it, and raise single rates in [throttle.rates] where they are too low",
        );
    }
}

pub(super) fn fast_guessing(subject: &Subject<'_>, found: &mut Found) {
    let login = subject.settings.throttle.rates.login;
    if login.limit().get() > 60 || is_faster(login, Rate::per_minute(60)) {
        found.warning(
            "throttle.rates.login",
            format!("{login} lets one address try more than a password a second, or 60 at once"),
            "lower it, for example to the default of `5/min`",
        );
    }
}

/// PWD-14: at most 100 tries of one account fail in a row.
pub(super) fn fast_guessing_of_one(subject: &Subject<'_>, found: &mut Found) {
    let rate = subject.settings.throttle.rates.login_account;
    if rate.limit().get() > 100 || is_faster(rate, Rate::per_hour(100)) {
        found.error_in_production(
            "throttle.rates.login_account",
            format!("{rate} lets many addresses together guess the password of one account without end"),
            "lower it, for example to the default of `10/15min`; 100 at once, and 100 an hour, are the most",
        );
    }
}

pub(super) fn fast_registration(subject: &Subject<'_>, found: &mut Found) {
    let rate = subject.settings.throttle.rates.register;
    let is_open = subject.settings.registration.mode == config::RegistrationMode::Open;
    if is_open && (rate.limit().get() > 100 || is_faster(rate, Rate::per_minute(10))) {
        found.warning(
            "throttle.rates.register",
            format!("{rate} lets one address fill the site with accounts"),
            "lower it, for example to the default of `5/hour`",
        );
    }
}

/// Whether `rate` admits more in the long run than `other`.
fn is_faster(rate: Rate, other: Rate) -> bool {
    let per = |rate: Rate, window: Rate| u64::from(rate.limit().get()) * window.window().as_secs();
    per(rate, other) > per(other, rate)
}

pub(super) fn huge_pages(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.pagination.max_size.get() > 1_000 {
        found.warning(
            "pagination.max_size",
            "a page of more than 1000 rows makes one request as dear as hundreds",
            "lower it; clients that need everything use an export",
        );
    }
}

pub(super) fn default_page_above_cap(subject: &Subject<'_>, found: &mut Found) {
    let pagination = &subject.settings.pagination;
    if pagination.default_size > pagination.max_size {
        found.error(
            "pagination.default_size",
            format!(
                "{} is above pagination.max_size, which is {}",
                pagination.default_size.get(),
                pagination.max_size.get()
            ),
            "lower the default, or raise the cap",
        );
    }
}

pub(super) fn huge_bodies(subject: &Subject<'_>, found: &mut Found) {
    let body = subject.settings.limits.body;
    if body > ByteSize::mib(16) {
        found.warning(
            "limits.body",
            format!("a body of {body} is held in memory, for as many requests as run at once"),
            "lower it, for example to the default of `1MiB`",
        );
    }
}

pub(super) fn no_room_for_a_body(subject: &Subject<'_>, found: &mut Found) {
    let limits = &subject.settings.limits;
    if limits.body_memory < limits.body {
        found.error(
            "limits.body_memory",
            format!(
                "{} has no room for one body of limits.body, which is {}",
                limits.body_memory, limits.body
            ),
            "raise it, for example to the default of `256MiB`",
        );
    }
}

pub(super) fn endless_body_memory(subject: &Subject<'_>, found: &mut Found) {
    let memory = subject.settings.limits.body_memory;
    if memory > ByteSize::mib(8 << 10) {
        found.warning(
            "limits.body_memory",
            format!("{memory} of bodies are in memory before any is refused, and what handlers make of them"),
            "lower it to a tenth of the machine's memory, or to the default of `256MiB`",
        );
    }
}

pub(super) fn trickling_bodies(subject: &Subject<'_>, found: &mut Found) {
    let rate = subject.settings.limits.min_body_rate;
    if rate < ByteSize::kib(1) {
        found.warning(
            "limits.min_body_rate",
            format!(
                "a client that sends {rate} a second keeps memory and a connection for as long as it likes"
            ),
            "raise it, for example to the default of `8KiB`",
        );
    }
}

pub(super) fn endless_load(subject: &Subject<'_>, found: &mut Found) {
    let limits = &subject.settings.limits;
    if limits.max_in_flight.get() > 10_000 {
        found.warning(
            "limits.max_in_flight",
            format!(
                "{} requests at once wait for each other until nobody waits for them",
                limits.max_in_flight.get()
            ),
            "lower it, for example to the default of `1024`",
        );
    }
    if limits.max_turn_wait_ms.get() > 5_000 {
        found.warning(
            "limits.max_turn_wait_ms",
            "requests wait for longer than people do before the first is refused",
            "lower it, for example to the default of `500`",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::Case;

    pub(in crate::check) const CASES: &[Case] = &[
        ("throttle.enabled = false", "error RATE-001 throttle.enabled", "throttle.enabled = true"),
        (
            "throttle.rates.login = '61/min'",
            "warning RATE-002 throttle.rates.login",
            "throttle.rates.login = '1/s'",
        ),
        (
            "throttle.rates.login_account = '101/h'",
            "error RATE-003 throttle.rates.login_account",
            "throttle.rates.login_account = '100/h'",
        ),
        (
            "throttle.rates.login_account = '1000/30d'",
            "error RATE-003 throttle.rates.login_account",
            "throttle.rates.login_account = '25/15min'",
        ),
        (
            "throttle.rates.register = '11/min'\nregistration.mode = 'open'",
            "warning RATE-004 throttle.rates.register",
            "throttle.rates.register = '11/min'",
        ),
        (
            "throttle.rates.login = '80000/day'",
            "warning RATE-002 throttle.rates.login",
            "throttle.rates.login = '60/day'",
        ),
        (
            "throttle.rates.register = '101/day'\nregistration.mode = 'open'",
            "warning RATE-004 throttle.rates.register",
            "throttle.rates.register = '100/day'\nregistration.mode = 'open'",
        ),
        ("pagination.max_size = 1001", "warning PAGE-001 pagination.max_size", "pagination.max_size = 1000"),
        (
            "pagination.default_size = 101",
            "error PAGE-002 pagination.default_size",
            "pagination.default_size = 100",
        ),
        ("limits.body = '17MiB'", "warning BODY-001 limits.body", "limits.body = '16MiB'"),
        (
            "limits.body_memory = '1023KiB'",
            "error BODY-002 limits.body_memory",
            "limits.body_memory = '1MiB'",
        ),
        ("limits.body_memory = '9GiB'", "warning BODY-003 limits.body_memory", "limits.body_memory = '8GiB'"),
        (
            "limits.min_body_rate = '1023'",
            "warning BODY-004 limits.min_body_rate",
            "limits.min_body_rate = '1KiB'",
        ),
        (
            "limits.max_in_flight = 10001",
            "warning LOAD-001 limits.max_in_flight",
            "limits.max_in_flight = 10000",
        ),
        (
            "limits.max_turn_wait_ms = 5001",
            "warning LOAD-001 limits.max_turn_wait_ms",
            "limits.max_turn_wait_ms = 5000",
        ),
    ];
}
