//! An ordinary axum application that takes request ids, a log, security headers, CORS, problem+json, hosts, limits, load
//! shedding and a throttle from Bailiwick, and nothing else of it.
use std::{error::Error, io, sync::Arc};

use axum::{Json, Router, routing};
use bailiwick::{
    app::serve::{ServeOptions, serve},
    clock::{OsEntropy, SystemClock},
    cors::{Cors, CorsLayer, PreflightLayer},
    database::MemoryCounters,
    headers::SecurityHeadersLayer,
    hosts::{AllowedHosts, HostsLayer},
    limits::{ByteSize, LimitsLayer},
    overload::OverloadLayer,
    problem::ProblemLayer,
    proxies::{ProxiesLayer, TrustedProxies},
    request_id::RequestIdLayer,
    throttle::{Throttle, ThrottleLayer},
    trace::{Format, Level, Log, TraceLayer},
    units::Rate,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(SystemClock::new());
    let cors = Cors::same_origin().allow("https://app.example.com".parse()?);
    let throttle = Throttle::new(Rate::per_minute(60), Rate::per_minute(600));
    let router = Router::new()
        .route("/hello", routing::get(async || Json(json!({ "hello": "world" }))))
        .route("/echo", routing::post(async |Json(body): Json<Value>| Json(body)))
        .layer(ThrottleLayer::new(throttle, Arc::new(MemoryCounters::new(clock.clone()))));
    let overload = OverloadLayer::new();
    let _watching = overload.load().watch(clock.clone())?;
    // From the outside in; ARCHITECTURE.md says why in this order.
    let service = ServiceBuilder::new()
        .layer(ProxiesLayer::new(TrustedProxies::default()))
        .layer(RequestIdLayer::new(Arc::new(OsEntropy)))
        .layer(TraceLayer::new(Log::new(io::stdout(), Format::Json, Level::INFO, clock)?))
        .layer(SecurityHeadersLayer::new())
        .layer(CorsLayer::new(&cors))
        .layer(ProblemLayer::new())
        .layer(overload)
        .layer(HostsLayer::new(AllowedHosts::parse(["localhost", "127.0.0.1"])?))
        .layer(LimitsLayer::new().max_body(ByteSize::kib(64)))
        .layer(PreflightLayer::new(&cors))
        .service(router);
    let listener = TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:3000")).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Ok(serve(listener, service, ServeOptions::new(), stop).await?)
}
