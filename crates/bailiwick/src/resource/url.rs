//! Absolute URLs of this server.
use std::convert::Infallible;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use super::Settings;

/// The absolute URL of the request without its query, in canonical form: with a slash at its end.
///
/// It begins with [`Settings::public_url`], where that is set (HST-05).
#[derive(Clone, Debug)]
pub struct CanonicalUrl(String);

impl CanonicalUrl {
    /// The URL's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of what is called `segment` below this one.
    pub fn child(&self, segment: &str) -> String {
        format!("{}{segment}/", self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CanonicalUrl
where
    Settings: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let mut url = Settings::from_ref(state).base_url(parts);
        url.push_str(parts.uri.path());
        if !url.ends_with('/') {
            url.push('/');
        }
        Ok(Self(url))
    }
}
