//! I6: a handler without any argument does not say who may call it either.
use bailiwick::routes::Routes;

async fn about() -> &'static str {
    "hello"
}

fn main() {
    let _: Routes = Routes::new().get("/about", about);
}
