//! Everything that is counted, and the text of it.
use std::{
    collections::HashSet,
    fmt,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{Router, response::IntoResponse, routing::get};
use bailiwick_core::{
    audit::{SecurityEvent, SecurityEventKind, Witness},
    clock::Clock,
    meter::{Meter, Metered, Reading, Value},
    request::{AuthMethod, AuthOutcome, Facts, ShedReason, Tally, ThrottleOutcome},
};
use http::{HeaderValue, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use super::labels::{Active, Answered, Authentication, Build, Event, Shed, Throttle};

/// MET-01, in seconds.
const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What is counted. Cheap to clone: it is shared, not copied.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    clock: Arc<dyn Clock>,
    requests: Family<Answered, Histogram, fn() -> Histogram>,
    active: Family<Active, Gauge>,
    authentications: Family<Authentication, Counter>,
    throttle: Family<Throttle, Counter>,
    shed: Family<Shed, Counter>,
    events: Family<Event, Counter>,
    parts: Parts,
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BOUNDS)
}

impl Metrics {
    /// Nothing counted yet; times are those of `clock`, and this is the start of the process.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let requests = Family::new_with_constructor(durations as fn() -> Histogram);
        let (active, authentications) = (Family::default(), Family::<Authentication, Counter>::default());
        let (throttle, events) = (Family::default(), Family::<Event, Counter>::default());
        let (build, parts) = (Family::<Build, Gauge>::default(), Parts::default());
        let shed = Family::<Shed, Counter>::default();
        let mut registry = Registry::default();
        registry.register(
            "http_server_request_duration_seconds",
            "How long requests took, from their head to the end of their answer",
            requests.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Requests that are being answered",
            Family::clone(&active),
        );
        registry.register(
            "bailiwick_authentications",
            "Credentials that were shown, by their kind and by what they were worth",
            authentications.clone(),
        );
        registry.register(
            "bailiwick_throttle_decisions",
            "Quotas that were asked, and what they said",
            Family::clone(&throttle),
        );
        registry.register(
            "bailiwick_requests_shed",
            "Requests that were refused since the server was busy, by what there was too much of",
            shed.clone(),
        );
        registry.register(
            "bailiwick_security_events",
            "Security events, by their names in the log",
            events.clone(),
        );
        registry.register(
            "bailiwick_build_info",
            "The version of the framework; the value is 1",
            build.clone(),
        );
        registry.register(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            ConstGauge::new(clock.now().as_micros() / 1_000_000),
        );
        registry.register_collector(Box::new(parts.clone()));
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        // From nought on: a rate that begins with the first event would miss it.
        for kind in SecurityEventKind::ALL {
            drop(events.get_or_create(&Event { event: kind.as_str() }));
        }
        for &reason in ShedReason::ALL {
            drop(shed.get_or_create(&Shed { reason }));
        }
        for &method in AuthMethod::ALL {
            for &outcome in AuthOutcome::ALL {
                drop(authentications.get_or_create(&Authentication { method, outcome }));
            }
        }
        Self(Arc::new(Inner {
            registry,
            clock,
            requests,
            active,
            authentications,
            throttle,
            shed,
            events,
            parts,
        }))
    }

    /// Shows the decisions of a quota from nought on. One that is not named here is shown from its first decision on.
    pub fn throttle_scope(&self, scope: &'static str) {
        for &outcome in ThrottleOutcome::ALL {
            drop(self.0.throttle.get_or_create(&Throttle { scope, outcome }));
        }
    }

    /// Shows what `part` measures of itself, read each time that somebody looks. Of two meters with one name, the first
    /// is shown.
    pub fn watch(&self, part: Arc<dyn Metered>) {
        self.0.parts.0.write().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    /// All of it, in the text format of Prometheus (version 0.0.4).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Written to memory, which cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.0.registry);
        text
    }

    /// Answers with it at `/metrics`.
    ///
    /// # Security
    /// To anyone: keep it on a listener that clients do not reach (MET-05).
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let metrics = self.clone();
        let answer = move || {
            let content_type = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
            let answer = ([(header::CONTENT_TYPE, content_type)], metrics.render()).into_response();
            std::future::ready(answer)
        };
        Router::new().route("/metrics", get(answer.clone())).route("/metrics/", get(answer))
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// The gauge of requests that are being answered, with one more on it.
    pub(super) fn begin(&self, labels: &Active) -> Gauge {
        let active = self.0.active.get_or_create_owned(labels);
        active.inc();
        active
    }

    /// Counts a request that was answered.
    pub(super) fn end(&self, labels: &Answered, took: Duration, facts: &Facts) {
        self.0.requests.get_or_create(labels).observe(took.as_secs_f64());
        facts.each_tally(|tally| match *tally {
            Tally::Authentication { method, outcome } => {
                self.0.authentications.get_or_create(&Authentication { method, outcome }).inc();
            }
            Tally::Throttle { scope, outcome } => {
                self.0.throttle.get_or_create(&Throttle { scope, outcome }).inc();
            }
            Tally::Shed { reason } => {
                self.0.shed.get_or_create(&Shed { reason }).inc();
            }
            _ => {}
        });
    }
}

/// An event is counted when it happens, whether a request brought it about or not.
impl Witness for Metrics {
    fn hear(&self, event: &SecurityEvent, _: Option<&str>, _: Option<IpAddr>) {
        self.0.events.get_or_create(&Event { event: event.kind.as_str() }).inc();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The parts that are watched.
#[derive(Clone, Default)]
struct Parts(Arc<RwLock<Vec<Arc<dyn Metered>>>>);

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl Collector for Parts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut shown = HashSet::new();
        let mut outcome = Ok(());
        for part in &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            part.meters(&mut |meter| {
                if shown.insert(meter.name) && outcome.is_ok() {
                    outcome = show(&mut encoder, &meter);
                }
            });
        }
        outcome
    }
}

fn show(encoder: &mut DescriptorEncoder<'_>, meter: &Meter) -> fmt::Result {
    let kind = match meter.value {
        Value::Counter(_) => MetricType::Counter,
        Value::Gauge(_) => MetricType::Gauge,
        Value::Distribution(_) => MetricType::Histogram,
        _ => return Ok(()),
    };
    // The encoder puts back what is behind every counter.
    let name = meter.name.strip_suffix("_total").unwrap_or(meter.name);
    let mut encoder = encoder.encode_descriptor(name, &format!("{}.", meter.help), None, kind)?;
    match &meter.value {
        Value::Counter(count) => encoder.encode_counter::<NoLabelSet, u64, f64>(count, None),
        Value::Gauge(now) => encoder.encode_gauge(&i64::try_from(*now).unwrap_or(i64::MAX)),
        Value::Distribution(Reading { bounds, counts, sum }) => {
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(*sum, counts.iter().sum(), &buckets, None)
        }
        _ => Ok(()),
    }
}
