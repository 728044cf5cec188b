//! I6: the gate comes first, before anything of the request is read.
use axum::http::Uri;
use bailiwick::{gate::Authenticated, routes::Routes};

async fn about(_: Uri, _: Authenticated) -> &'static str {
    "hello"
}

fn main() {
    let _: Routes = Routes::new().get("/about", about);
}
