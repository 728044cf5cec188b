//! The routes that are more than a resource's five.
mod attachments;
mod auth;
mod jwt;
mod me;
mod org_tokens;
mod orgs;
mod passwords;
mod sessions;
mod tokens;

use bailiwick::{routes::Routes, throttle::By, units::ByteSize, upload::UploadLimits};

pub(crate) use self::attachments::Attachments;

/// The longest life that anyone can give a token, in days.
pub(crate) const MAX_TOKEN_DAYS: i64 = 3650;

/// What an upload spends of a quota: its content is judged whole, and kept (THR-37).
const UPLOAD_WEIGHT: u32 = 5;
/// What a download spends of a quota: megabytes instead of rows.
const DOWNLOAD_WEIGHT: u32 = 2;

/// Who may make an account by a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Anyone.
    Open,
    /// Nobody: there is no such route.
    Closed,
}

/// All of them. The body of an upload may be as long as `upload_body`.
pub(crate) fn routes(registration: Registration, upload_body: ByteSize) -> Routes {
    let register = match registration {
        Registration::Open => {
            Routes::new().post("/auth/register/", passwords::register).throttled("register", By::Address)
        }
        Registration::Closed => Routes::new(),
    };
    register
        .post("/auth/password/", passwords::change)
        .throttled("login", By::Principal)
        .post("/auth/password/reset/", passwords::ask_for_reset)
        .throttled("password_reset", By::Address)
        .credential_in_body()
        .post("/auth/password/reset/confirm/", passwords::reset)
        .throttled("password_reset", By::Address)
        .credential_in_body()
        .post("/auth/token/", auth::obtain_token)
        .throttled("login", By::Address)
        .credential_in_body()
        .delete("/auth/token/", auth::revoke_token)
        .ends_credentials()
        .get("/auth/tokens/", tokens::list)
        .weighing_by_page()
        .post("/auth/tokens/", tokens::create)
        .delete("/auth/tokens/{id}/", tokens::end)
        .ends_credentials()
        .post("/auth/tokens/{id}/rotate/", tokens::rotate)
        .post("/auth/tokens/report-leak/", tokens::report_leak)
        .ends_credentials()
        .post("/auth/jwt/", jwt::obtain)
        .throttled("login", By::Address)
        .credential_in_body()
        .post("/auth/jwt/refresh/", jwt::refresh)
        .throttled("refresh", By::Address)
        .credential_in_body()
        .post("/auth/jwt/verify/", jwt::verify)
        .credential_in_body()
        .post("/auth/jwt/revoke/", jwt::revoke)
        .ends_credentials()
        .credential_in_body()
        .get("/auth/csrf/", sessions::csrf_token)
        .post("/auth/session/", sessions::begin)
        .throttled("login", By::Address)
        .logs_in_browsers()
        .get("/auth/session/", sessions::show)
        .delete("/auth/session/", sessions::end)
        .ends_credentials()
        .get("/auth/sessions/", sessions::list)
        .weighing_by_page()
        .delete("/auth/sessions/", sessions::end_others)
        .ends_credentials()
        .delete("/auth/sessions/{id}/", sessions::end_one)
        .ends_credentials()
        .get("/me/", me::show)
        .post("/orgs/", orgs::create)
        .get("/orgs/{org}/", orgs::show)
        .get("/orgs/{org}/tokens/", org_tokens::list)
        .weighing_by_page()
        .post("/orgs/{org}/tokens/", org_tokens::create)
        .delete("/orgs/{org}/tokens/{id}/", org_tokens::end)
        .ends_credentials()
        .post("/orgs/{org}/tokens/{id}/rotate/", org_tokens::rotate)
        .get("/orgs/{org}/tasks/{id}/attachments/", attachments::list)
        .weighing_by_page()
        .post("/orgs/{org}/tasks/{id}/attachments/", attachments::upload)
        .throttled("uploads", By::Principal)
        .weighing(UPLOAD_WEIGHT)
        .spooled_body(upload_body, UploadLimits::HELD)
        .get("/orgs/{org}/tasks/{id}/attachments/{attachment}/", attachments::show)
        .delete("/orgs/{org}/tasks/{id}/attachments/{attachment}/", attachments::delete)
        .get("/orgs/{org}/tasks/{id}/attachments/{attachment}/content/", attachments::content)
        .weighing(DOWNLOAD_WEIGHT)
}
