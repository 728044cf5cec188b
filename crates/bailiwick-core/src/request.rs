//! What is known of one request besides who asks: its id, where it came from, and what the layers found out.
//!
//! These types travel in the extensions of a request. They live here, and not beside the control that sets them,
//! because several controls read them and no control may import another.
use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use smallvec::SmallVec;

use crate::{
    audit::{Act, Actor, Noted, SecurityEvent, Witness},
    clock::Timestamp,
    identity::{Principal, UserId},
    named::named,
    text::without_secrets,
};

/// The address that a request comes from: that at the other end of the connection or, where that is a proxy that is
/// trusted, the one that it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// How the client reached this server. A request without this extension came by plain [`Scheme::Http`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// Marks a request of which nothing could be read: its method and target stand for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// How long it was waited for, where it did not come in time.
    pub waited: Duration,
}

/// Marks a request with the cookie of a session that does not work any more: it acts for nobody, and where somebody is
/// needed it is told that its credential is bad (SES-18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedSession;

/// Names one request in its answer, in the logs and in the audit trail.
///
/// It is 8 to 128 characters of `A-Za-z0-9_-` (LOG-08), so it can be written anywhere without being escaped. It
/// is no secret: a client may choose its own. Cheap to clone.
#[derive(Clone)]
pub struct RequestId(Text);

#[derive(Clone)]
enum Text {
    Random([u8; RANDOM_CHARS]),
    Chosen(Arc<str>),
}

const RANDOM_CHARS: usize = 2 * RequestId::RANDOM_BYTES;

impl RequestId {
    /// How much randomness makes an id.
    pub const RANDOM_BYTES: usize = 16;

    /// The id that a client chose, if it may be used as one. What looks like a credential may not: an id is written down
    /// where no secret may stand, and for ever (LOG-03).
    pub fn from_client(text: &[u8]) -> Option<Self> {
        let allowed = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(8..=128).contains(&text.len()) || !text.iter().all(allowed) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        matches!(without_secrets(text), Cow::Borrowed(_)).then(|| Self(Text::Chosen(text.into())))
    }

    /// The id that `random` spells in hexadecimal.
    pub fn from_random(random: [u8; Self::RANDOM_BYTES]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; RANDOM_CHARS];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(Text::Random(text))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Random(text) => std::str::from_utf8(text).expect("hexadecimal digits are ASCII"),
            Text::Chosen(text) => text,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the layers and the handler found out about a request, for its line in the access log. Its security events do not
/// wait for that line: whoever [listens](Facts::add_witness) hears of each when it happens.
///
/// The outermost layer puts an empty record into the request's extensions; whoever knows more takes it from there
/// and fills it in. The first value of a field stays. Cheap to clone: it is shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Facts(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    request_id: OnceLock<RequestId>,
    remote_addr: OnceLock<IpAddr>,
    user_id: OnceLock<UserId>,
    principal: OnceLock<Principal>,
    org: OnceLock<Cow<'static, str>>,
    route: OnceLock<Arc<str>>,
    throttled: OnceLock<Cow<'static, str>>,
    denied_by: OnceLock<Cow<'static, str>>,
    noted: Noted,
    tallies: Mutex<SmallVec<[Tally; 4]>>,
}

/// What was decided on the way of a request and is counted, besides what became of it. It is made of names that the program
/// has, so that there are few different ones, whatever clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tally {
    /// Somebody showed a credential.
    Authentication {
        /// Of which kind.
        method: AuthMethod,
        /// What it was worth.
        outcome: AuthOutcome,
    },
    /// A quota was asked.
    Throttle {
        /// Its name.
        scope: &'static str,
        /// What it said.
        outcome: ThrottleOutcome,
    },
    /// The request was refused since the server is busy.
    Shed {
        /// What there was too much of.
        reason: ShedReason,
    },
}

named! {
    /// How somebody proves who they are.
    AuthMethod {
        /// By a user name and a password.
        Password = "password",
        /// By an API token.
        ApiToken = "api_token",
        /// By an access token, which is signed.
        AccessToken = "access_token",
        /// By the cookie of a session.
        Session = "session",
        /// By something in `Authorization` that can be no credential of this server.
        Unknown = "unknown",
    }
}

named! {
    /// What a credential was worth.
    AuthOutcome {
        /// It proves somebody.
        Success = "success",
        /// It proves nobody.
        Failure = "failure",
        /// Nobody could say: a store is out of reach.
        Unavailable = "unavailable",
    }
}

named! {
    /// What a quota said to a request.
    ThrottleOutcome {
        /// It has room.
        Allowed = "allowed",
        /// It is spent.
        Refused = "refused",
        /// Its counters are out of reach: the request was a read, and passed (THR-35).
        Uncounted = "uncounted",
        /// Its counters are out of reach: the request was refused.
        Unavailable = "unavailable",
    }
}

named! {
    /// Of what the server had too much when it refused a request.
    ShedReason {
        /// Requests that it works on.
        InFlight = "in_flight",
        /// Waiting for a turn of a thread.
        Queue = "queue",
        /// Bodies in memory.
        BodyMemory = "body_memory",
    }
}

named! {
    /// What denies requests besides the rules of tables.
    DeniedBy {
        /// The caller is no member of the organisation that the path names.
        Membership = "membership",
        /// The scopes of the credential leave it out.
        Scope = "scope",
        /// It is for people's own accounts, and the credential is of an organisation.
        Account = "account",
        /// Another site may have forged it.
        Csrf = "csrf",
        /// Pages of its origin may not call.
        Cors = "cors",
        /// The server is busy.
        Overload = "overload",
    }
}

impl From<DeniedBy> for Cow<'static, str> {
    fn from(denied: DeniedBy) -> Self {
        denied.as_str().into()
    }
}

impl Facts {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says which request it is, and where it came from.
    pub fn set_origin(&self, request_id: Option<RequestId>, remote_addr: Option<IpAddr>) {
        let _ = request_id.map(|id| self.0.request_id.set(id));
        let _ = remote_addr.map(|address| self.0.remote_addr.set(address));
    }

    /// Says who the request acts for.
    pub fn set_user(&self, user_id: UserId) {
        let _ = self.0.user_id.set(user_id);
    }

    /// Says who the request acts for, and by what.
    pub fn set_principal(&self, principal: &Principal) {
        self.set_user(principal.user_id());
        let _ = self.0.principal.set(principal.clone());
    }

    /// Says in which organisation it acts, by slug. Set it only once the organisation was found for this caller.
    pub fn set_org(&self, slug: impl Into<Cow<'static, str>>) {
        let _ = self.0.org.set(slug.into());
    }

    /// Says which route it took, as the template with its parameters in braces.
    pub fn set_route(&self, template: impl Into<Arc<str>>) {
        if self.0.route.get().is_none() {
            let _ = self.0.route.set(template.into());
        }
    }

    /// Says which throttle scope refused it.
    pub fn set_throttled(&self, scope: impl Into<Cow<'static, str>>) {
        let _ = self.0.throttled.set(scope.into());
    }

    /// Says what denied it: one of [`DeniedBy`], or the rule of a table, such as `tasks.create`.
    pub fn set_denied_by(&self, rule: impl Into<Cow<'static, str>>) {
        let _ = self.0.denied_by.set(rule.into());
    }

    /// Has `witness` told of every security event of the request from now on.
    pub fn add_witness(&self, witness: Arc<dyn Witness>) {
        self.0.noted.add_witness(witness);
    }

    /// Tells of an event that changed nothing, and keeps it for the audit trail. Those of changes are told by the store
    /// that makes them, see [`act`](Self::act).
    pub fn note(&self, event: SecurityEvent) {
        self.tell(&event);
        self.0.noted.keep(event);
    }

    /// Tells of an event that the audit trail does not have, or has from elsewhere.
    pub fn tell(&self, event: &SecurityEvent) {
        let request_id = self.0.request_id.get().map(RequestId::as_str);
        self.0.noted.tell(event, request_id, self.0.remote_addr.get().copied());
    }

    /// Notes what is to be counted.
    pub fn tally(&self, tally: Tally) {
        self.tallies().push(tally);
    }

    /// Gives `each` what was noted to be counted.
    pub fn each_tally(&self, each: impl FnMut(&Tally)) {
        self.tallies().iter().for_each(each);
    }

    fn tallies(&self) -> MutexGuard<'_, SmallVec<[Tally; 4]>> {
        self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those out that are still to be appended to the audit trail.
    pub fn take_events_to_append(&self) -> Vec<SecurityEvent> {
        self.0.noted.take_to_append()
    }

    /// What the request does at this moment, for the audit trail. The witnesses of the request are told what a store
    /// records under it, also if that is after its end.
    pub fn act(&self, at: Timestamp) -> Act {
        let actor = self.0.principal.get().map_or(Actor::ANONYMOUS, Actor::from);
        let mut act = Act::of(actor, at).noted_in(self.0.noted.clone());
        act.request_id = self.0.request_id.get().map(|id| id.as_str().into());
        act.remote_addr = self.0.remote_addr.get().copied();
        act
    }

    /// Who the request acts for.
    pub fn user_id(&self) -> Option<UserId> {
        self.0.user_id.get().copied()
    }

    /// The slug of the organisation it acts in.
    pub fn org(&self) -> Option<&str> {
        self.0.org.get().map(AsRef::as_ref)
    }

    /// The template of the route it took.
    pub fn route(&self) -> Option<&str> {
        self.0.route.get().map(AsRef::as_ref)
    }

    /// The same, to be kept.
    pub fn shared_route(&self) -> Option<Arc<str>> {
        self.0.route.get().cloned()
    }

    /// The throttle scope that refused it.
    pub fn throttled(&self) -> Option<&str> {
        self.0.throttled.get().map(AsRef::as_ref)
    }

    /// What denied it.
    pub fn denied_by(&self) -> Option<&str> {
        self.0.denied_by.get().map(AsRef::as_ref)
    }
}

/// The name of the path parameter that names the organisation: `/orgs/{org}/…`.
pub const TENANT_PARAMETER: &str = "org";

/// The segment of `path` that stands where `template` has `{name}`: `acme` in `/orgs/acme/tasks/` for `org` of
/// `/orgs/{org}/tasks/`. It is as the client sent it, percent-encoding and all.
pub fn path_parameter<'p>(template: &str, path: &'p str, name: &str) -> Option<&'p str> {
    let wanted =
        |segment: &str| segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name);
    template.split('/').zip(path.split('/')).find(|(segment, _)| wanted(segment)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    // LOG-08
    #[test]
    fn a_clients_id_is_taken_only_if_it_can_be_written_anywhere() {
        let longest = "a".repeat(128);
        for right in ["abcd1234", "A_z-0123", longest.as_str()] {
            assert_eq!(RequestId::from_client(right.as_bytes()).unwrap().as_str(), right);
        }
        let too_long = "a".repeat(129);
        for wrong in ["", "abc1234", too_long.as_str(), "abcd 1234", "abcd\"1234", "abcd\n1234", "abcdé1234"]
        {
            assert!(RequestId::from_client(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
        assert!(RequestId::from_client(b"abcd\xff1234").is_none());
        for kind in ["pat", "org", "rt", "ses", "rst"] {
            let secret = format!("bw_{kind}_0123456789abcdefghijABCDEFGHIJ");
            assert!(RequestId::from_client(secret.as_bytes()).is_none(), "{secret}");
        }
    }

    #[test]
    fn a_random_id_could_have_been_a_clients() {
        let id = RequestId::from_random([0xa5; 16]);
        assert_eq!(id.as_str(), "a5".repeat(16));
        assert!(RequestId::from_client(id.as_str().as_bytes()).is_some());
    }

    #[test]
    fn a_parameter_is_the_segment_at_its_place() {
        let of = |path| path_parameter("/orgs/{org}/tasks/{id}/", path, "org");
        assert_eq!(of("/orgs/acme/tasks/7/"), Some("acme"));
        assert_eq!(of("/orgs/%61cme/tasks/7"), Some("%61cme"));
        assert_eq!(of("/orgs"), None);
        assert_eq!(path_parameter("/orgs/", "/orgs/", "org"), None);
    }

    #[test]
    fn the_first_value_of_a_fact_stays() {
        let facts = Facts::new();
        assert_eq!(facts.org(), None);
        facts.set_org("acme");
        let shared = facts.clone();
        shared.set_org("other");
        assert_eq!(shared.org(), Some("acme"));
        assert_eq!(facts.org(), Some("acme"));
    }
}
