//! I6: a handler that does not say who may call it.
use axum::http::Uri;
use bailiwick::routes::Routes;

async fn about(_: Uri) -> &'static str {
    "hello"
}

fn main() {
    let _: Routes = Routes::new().get("/about", about);
}
