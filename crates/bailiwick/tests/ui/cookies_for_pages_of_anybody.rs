//! I11, CORS-41: any origin has no way to cookies, nor into private networks, and patterns have only a loud one.
use bailiwick::cors::Cors;

fn main() {
    let _ = Cors::insecure_any_origin().allow_credentials();
    let _ = Cors::insecure_any_origin().allow_private_network();
    let pattern = r"^https://[a-z]+\.example\.com$".parse().unwrap();
    let _ = Cors::same_origin().allow_matching(pattern).allow_credentials();
}
