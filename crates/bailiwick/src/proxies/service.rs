//! The service behind [`ProxiesLayer`](super::ProxiesLayer).
use std::task::{Context, Poll};

use bailiwick_core::request::{ClientAddr, Scheme};
use http::{HeaderMap, Request, Uri, header};
use tower_service::Service;

use super::{
    ForwardedBy, ProxiesLayer,
    forwarded::{self, Said},
};
use crate::problem::{Problem, Refusal};

/// See [`ProxiesLayer`].
#[derive(Clone, Debug)]
pub struct ProxiesService<S> {
    inner: S,
    layer: ProxiesLayer,
}

impl<S> ProxiesService<S> {
    pub(super) fn new(inner: S, layer: ProxiesLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, B> Service<Request<B>> for ProxiesService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.layer.read(&mut request);
        self.inner.call(request)
    }
}

impl ProxiesLayer {
    /// Puts into the request what is known of its way, and takes out what only claims to be.
    fn read<B>(&self, request: &mut Request<B>) {
        let peer = request.extensions().get::<ClientAddr>().copied();
        match peer {
            Some(ClientAddr(peer)) if self.trusted.hold(peer) => {
                let headers = request.headers();
                let said = match self.by {
                    ForwardedBy::XForwarded => forwarded::x_forwarded(headers, peer, &self.trusted),
                    ForwardedBy::Forwarded => forwarded::forwarded(headers, peer, &self.trusted),
                };
                let is_readable = said.is_readable;
                said.put_into(request);
                if !is_readable && request.extensions().get::<Refusal>().is_none() {
                    let problem = Problem::malformed_request("the Forwarded field breaks its grammar");
                    request.extensions_mut().insert(Refusal(problem));
                }
            }
            _ if self.trusted.is_empty() && self.https.is_some() => {
                request.extensions_mut().insert(Scheme::Https);
            }
            _ => {}
        }
        forget(request.headers_mut());
        let is_plain = request.extensions().get::<Scheme>().copied().unwrap_or_default() == Scheme::Http;
        if let Some(https) = self.https
            && is_plain
            && request.uri().path().trim_end_matches('/') != https.except.trim_end_matches('/')
            && request.extensions().get::<Refusal>().is_none()
        {
            request.extensions_mut().insert(Refusal(Problem::https_required()));
        }
    }
}

impl Said {
    fn put_into<B>(self, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        extensions.insert(ClientAddr(self.address));
        extensions.insert(if self.is_https { Scheme::Https } else { Scheme::Http });
        let Some(host) = self.host else { return };
        request.headers_mut().insert(header::HOST, host);
        // A target in absolute form would override the host.
        if request.uri().authority().is_some() {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            if let Ok(uri) = path.parse::<Uri>() {
                *request.uri_mut() = uri;
            }
        }
    }
}

/// Takes the fields out, whoever sent them.
fn forget(headers: &mut HeaderMap) {
    for field in [forwarded::FOR, forwarded::PROTO, forwarded::HOST, header::FORWARDED] {
        headers.remove(field);
    }
}
