use std::{collections::HashSet, convert::Infallible, sync::Arc};

use bailiwick_core::{clock::OsEntropy, request::RequestId};
use http::{HeaderValue, Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{RequestIdLayer, X_REQUEST_ID};

type Empty = http_body_util::Empty<bytes::Bytes>;

/// The id that the service inside saw, and the header that the client got, when these headers were sent.
async fn named(layer: &RequestIdLayer, sent: &[&'static [u8]]) -> (String, String) {
    let inner = service_fn(|request: Request<Empty>| async move {
        let id = request.extensions().get::<RequestId>().unwrap().clone();
        let mut response = Response::new(Empty::new());
        response.headers_mut().append(X_REQUEST_ID, HeaderValue::from_static("what-a-handler-set"));
        response.extensions_mut().insert(id);
        Ok::<_, Infallible>(response)
    });
    let mut request = Request::new(Empty::new());
    for value in sent {
        request.headers_mut().append(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
    }
    let response = layer.layer(inner).ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.headers().get_all(X_REQUEST_ID).iter().count(), 1);
    let seen = response.extensions().get::<RequestId>().unwrap().to_string();
    (seen, response.headers()[X_REQUEST_ID].to_str().unwrap().to_owned())
}

// LOG-08
#[tokio::test]
async fn a_clients_id_is_kept_if_it_is_harmless_and_sent_once() {
    let layer = RequestIdLayer::new(Arc::new(OsEntropy));
    let (seen, answered) = named(&layer, &[b"my-id_0123"]).await;
    assert_eq!((seen.as_str(), answered.as_str()), ("my-id_0123", "my-id_0123"));
    let strange: [&[&'static [u8]]; 5] =
        [&[b"short"], &[b"with space"], &[b"caf\xc3\xa9-0123"], &[b""], &[b"my-id_0123", b"my-id_0123"]];
    for sent in strange {
        let (seen, answered) = named(&layer, sent).await;
        assert_eq!(seen, answered);
        assert!(seen.len() == 32 && seen.bytes().all(|byte| byte.is_ascii_hexdigit()), "{seen}");
    }
}

#[tokio::test]
async fn new_ids_are_never_given_twice() {
    let layer = RequestIdLayer::new(Arc::new(OsEntropy));
    let mut ids = HashSet::new();
    for _ in 0..1000 {
        assert!(ids.insert(named(&layer, &[]).await.0));
    }
}
