//! The routes that are more than a resource's five.
mod auth;
mod me;
mod orgs;

use bailiwick::{routes::Routes, throttle::By};

/// All of them.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .post("/auth/token/", auth::obtain_token)
        .throttled("login", By::Address)
        .credential_in_body()
        .delete("/auth/token/", auth::revoke_token)
        .get("/me/", me::show)
        .post("/orgs/", orgs::create)
        .get("/orgs/{org}/", orgs::show)
}
